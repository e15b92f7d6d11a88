// Private messages: each window is a browser with a session of its own, and its tabs share that session.
import assert from "node:assert/strict";
import { RUNTIMES, start, test, testEach, until } from "./harness.js";

/** Opens a window whose user has logged in: without the form, because that loads the page a second time. */
async function come(site, name, prepare = undefined) {
  const context = await site.context();
  const response = await context.request.post(`${site.url}/login`, { form: { name } });
  assert.equal(response.status(), 200, await response.text());
  const window = await site.open(context, prepare);
  await window.sees("#me", name);
  await window.sees("#status", `Connected over ${site.transport}`);
  return window;
}

/** Logs in, and waits for the page that is loaded then. */
async function logIn(window, name) {
  await window.fill("#name", name);
  await loads(window, () => window.press("#name", "Enter"));
}

/** Acts, and waits for the page that this loads. */
async function loads(window, act) {
  const loaded = window.page.waitForEvent("load");
  await act();
  await loaded;
}

async function choose(window, name) {
  await window.click(`#users a:has-text("${name}")`);
  await window.sees('#users [aria-current="page"] .user', name);
}

async function say(window, text) {
  await window.fill("#text", text);
  await window.press("#text", "Enter");
}

/** Waits until a window shows exactly these messages (`author: text`) in this order. */
async function hears(window, messages) {
  const look = () => window.page.locator("#log li").evaluateAll((items) => {
    return items.map((item) => `${item.querySelector("b").textContent}: ${item.lastChild.textContent}`);
  });
  await until(look, (said) => JSON.stringify(said) === JSON.stringify(messages), `the messages ${messages}`);
}

/** Waits until a window lists exactly these users, each as its name, `away` if it is, and the number of its messages
 * that are unread. */
async function lists(window, users) {
  const look = () => window.page.locator("#users a").evaluateAll((links) => {
    return links.map((link) => {
      const away = link.classList.contains("online") ? "" : " away";
      const unread = link.querySelector(".unread");
      return `${link.querySelector(".user").textContent}${away}${unread ? ` ${unread.textContent}` : ""}`;
    });
  });
  await until(look, (seen) => JSON.stringify(seen) === JSON.stringify(users), `the users ${users}`);
}

/** Makes a page believe that it is hidden, which a headless one never is. */
function hide(window, hidden) {
  return window.page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}

testEach("a message reaches all tabs of both users, and nobody else", "private_messaging", async (site) => {
  const [ann, bob, eve] = [await come(site, "Ann"), await come(site, "Bob"), await come(site, "Eve")];
  const [ann2, bob2] = [await site.tab(ann), await site.tab(bob)];
  for (const window of [ann, ann2]) await choose(window, "Bob");
  for (const window of [bob, bob2, eve]) await choose(window, "Ann");
  await say(ann, "for your eyes only");
  for (const window of [ann, ann2, bob, bob2]) await hears(window, ["Ann: for your eyes only"]);
  await say(bob2, "<b>mine</b>, too");
  for (const window of [ann, ann2, bob, bob2]) {
    await hears(window, ["Ann: for your eyes only", "Bob: <b>mine</b>, too"]);
  }
  await say(eve, "hello?");
  await lists(ann, ["Bob", "Eve 1"]);
  await hears(eve, ["Eve: hello?"]);
  // Each page knows its own messages.
  assert.equal((await ann2.texts("#log li.mine")).length, 1);
  assert.deepEqual(await ann.texts("#outbox li"), []);
});

testEach("a reload keeps the user and the conversation", "private_messaging", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  await choose(ann, "Bob");
  await say(ann, "one");
  await lists(bob, ["Ann 1"]);
  for (const window of [ann, bob]) await window.page.reload();
  await ann.sees("#me", "Ann");
  await hears(ann, ["Ann: one"]);
  await lists(bob, ["Ann 1"]);
  await choose(bob, "Ann");
  await hears(bob, ["Ann: one"]);
  await bob.page.goBack();
  await bob.sees("#note", "Choose a user to talk to.");
});

testEach("a user is online until the last tab is closed", "private_messaging", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  const second = await site.tab(bob);
  await second.sees("#me", "Bob");
  await lists(ann, ["Bob"]);
  await choose(ann, "Bob");
  await ann.sees("#note", "");
  await site.closeTab(bob);
  // The page hears of the users in order, so if Bob had been away for a moment, it would show that before Cato.
  const cato = await come(site, "Cato");
  await lists(ann, ["Bob", "Cato"]);
  await lists(cato, ["Ann", "Bob"]);
  await site.closeTab(second);
  await lists(ann, ["Bob away", "Cato"]);
  await ann.sees("#note", "Bob is away, and gets your messages later.");
});

testEach("the last fifty messages wait for a user who is away", "private_messaging", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  const context = bob.page.context();
  await site.closeTab(bob);
  await lists(ann, ["Bob away"]);
  await choose(ann, "Bob");
  const messages = Array.from({ length: 53 }, (_, number) => `Ann: message ${number}`);
  await ann.submit("#say", "#text", messages.map((message) => message.slice("Ann: ".length)));
  await hears(ann, messages);
  const back = await site.open(context);
  await back.sees("#me", "Bob");
  await lists(back, ["Ann 50"]);
  await choose(back, "Ann");
  await hears(back, messages.slice(3));
  await lists(back, ["Ann"]);
});

testEach("messages are unread until one tab shows them", "private_messaging", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  const second = await site.tab(bob);
  await choose(ann, "Bob");
  await say(ann, "one");
  await say(ann, "two");
  const title = (window, expected) => until(() => window.page.title(), (title) => title === expected, expected);
  for (const window of [bob, second]) {
    await lists(window, ["Ann 2"]);
    await title(window, "(2) Private messages");
  }
  await ann.seesAll("#log .mark", []);
  // A hidden page does not read.
  await hide(second, true);
  await choose(second, "Ann");
  await hears(second, ["Ann: one", "Ann: two"]);
  await lists(bob, ["Ann 2"]);
  await hide(second, false);
  for (const window of [bob, second]) {
    await lists(window, ["Ann"]);
    await title(window, "Private messages");
  }
  await ann.seesAll("#log .mark", ["read", "read"]);
  await say(ann, "three");
  await ann.seesAll("#log .mark", ["read", "read", "read"]);
  await lists(bob, ["Ann"]);
});

for (const runtime of RUNTIMES) {
  test(`messages are sent again until they are acknowledged, and delivered once (${runtime})`, async (t) => {
    const site = await start(t, "private_messaging", runtime);
    let [sent, deaf, down, cut] = [0, false, false, undefined];
    const sends = (text) => text.includes('"private message"') && (sent += 1);
    const ann = await come(site, "Ann", async (page) => {
      // The second connection begins with polling.
      await page.route("**/socket.io/?*", (route) => {
        sends(route.request().postData() ?? "");
        return down ? route.abort() : route.continue();
      });
      await page.routeWebSocket(/./, (socket) => {
        const server = socket.connectToServer();
        socket.onMessage((message) => {
          if (sends(`${message}`) === 1) deaf = true; // the first is not acknowledged
          server.send(message);
        });
        server.onMessage((message) => deaf || socket.send(message));
        cut = () => Promise.all([socket.close(), server.close()]);
      });
    });
    const bob = await come(site, "Bob");
    await choose(ann, "Bob");
    await choose(bob, "Ann");
    await say(ann, "one");
    await hears(bob, ["Ann: one"]);
    await ann.seesAll("#outbox li", [/one$/]);
    down = true;
    await cut();
    await ann.sees("#status", /trying again$/);
    await lists(bob, ["Ann away"]);
    await say(ann, "two");
    await say(ann, "three");
    await ann.seesAll("#outbox li", [/not sent yet\s+one$/, /two$/, /three$/]);
    await say(bob, "where are you?");
    deaf = down = false;
    await ann.sees("#status", /^Connected (again )?over websocket$/);
    await lists(bob, ["Ann"]);
    const messages = ["Ann: one", "Bob: where are you?", "Ann: two", "Ann: three"];
    await hears(bob, messages);
    await hears(ann, messages);
    await ann.seesAll("#outbox li", []);
    assert.equal(sent, 4);
  });
}

testEach("a taken, an empty and a long name are refused with a reason", "private_messaging", async (site) => {
  await come(site, "Ann");
  const window = await site.window();
  await window.sees("#status", "Not connected");
  const refused = async (name, why) => {
    await window.fill("#name", name);
    await window.press("#name", "Enter");
    await window.sees("#refused", why);
  };
  await refused("Ann", "This name is taken");
  await refused("  ", "A name has between 1 and 24 characters");
  await window.page.evaluate(() => document.querySelector("#name").removeAttribute("maxlength"));
  await refused("n".repeat(25), "A name has between 1 and 24 characters");
  await logIn(window, "n".repeat(24));
  await window.sees("#me", "n".repeat(24));
  await window.page.evaluate(() => document.querySelector("#text").removeAttribute("maxlength"));
  await choose(window, "Ann");
  await say(window, "x".repeat(600));
  await hears(window, [`${"n".repeat(24)}: ${"x".repeat(500)}`]);
});

testEach("a logout ends every tab and frees the name", "private_messaging", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  const second = await site.tab(bob);
  await choose(ann, "Bob");
  await choose(second, "Ann");
  await say(second, "goodbye");
  await hears(ann, ["Bob: goodbye"]);
  await loads(bob, () => bob.click("text=Log out"));
  for (const window of [bob, second]) await window.sees("#hello label", "What is your name?");
  await lists(ann, []);
  await hears(ann, []);
  await ann.sees("#note", "Nobody else has logged in: open this page in a private window.");
  await logIn(bob, "Bob");
  await bob.sees("#me", "Bob");
  // The form of another tab is out of date: its user has logged in already.
  await logIn(second, "Robert");
  await second.sees("#me", "Bob");
  await lists(ann, ["Bob"]);
  await choose(ann, "Bob");
  await hears(ann, []);
});

testEach("the users log in again when the server was restarted", "private_messaging", async (site) => {
  const ann = await come(site, "Ann");
  await site.vanish();
  await site.start();
  await ann.sees("#status", "Not connected");
  await logIn(ann, "Ann");
  await ann.sees("#me", "Ann");
});
