// The chat: each window is a user.
import assert from "node:assert/strict";
import { RUNTIMES, colour, focused, start, test, testEach, until } from "./harness.js";

/** Opens a window whose user has joined the chat. */
async function come(site, name, room = "Lobby", prepare = undefined) {
  const window = await site.window(prepare);
  await window.fill("#name", name);
  await window.press("#name", "Enter");
  await window.sees("#status", `Connected over ${site.transport}`);
  if (room !== "Lobby") await enter(window, room);
  return window;
}

async function enter(window, room) {
  await window.click(`#rooms a >> text="${room}"`);
  await window.sees('#rooms [aria-current="page"]', room);
}

async function say(window, text) {
  await window.fill("#text", text);
  await window.press("#text", "Enter");
}

/** Waits until a window shows exactly these lines (`name: text`) in this order. */
async function hears(window, lines) {
  const look = () => window.page.locator("#log li").evaluateAll((items) => {
    return items.map((item) => `${item.querySelector("b").textContent}: ${item.lastChild.textContent}`);
  });
  await until(look, (said) => JSON.stringify(said) === JSON.stringify(lines), `the lines ${JSON.stringify(lines)}`);
}

testEach("lines arrive in the same order in both windows", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  const turns = Array.from({ length: 10 }, (_, turn) => turn);
  await Promise.all([ann, bob].map(async (window) => {
    for (const turn of turns) await say(window, `line ${turn}`);
  }));
  await Promise.all([ann, bob].map((window) => window.seesAll("#log li", Array(20).fill(/line \d$/))));
  const [said, same] = await Promise.all([ann.texts("#log li"), bob.texts("#log li")]);
  assert.deepEqual(said, same);
  for (const name of ["Ann", "Bob"]) {
    const own = said.filter((line) => line.startsWith(name)).map((line) => line.at(-1));
    assert.deepEqual(own, turns.map(String), `the lines of ${name}`);
  }
  // Each page knows its own lines.
  assert.ok((await ann.texts("#log li.mine")).every((line) => line.startsWith("Ann")));
  assert.equal((await bob.texts("#log li.mine")).length, 10);
  assert.deepEqual(await ann.texts("#outbox li"), []);
});

testEach("typing is shown to the others until it ends", "chat", async (site) => {
  const [ann, bob, cato] = [await come(site, "Ann"), await come(site, "Bob"), await come(site, "Cato")];
  // They keep typing until it is seen, however long that takes.
  const type = (typists, window, expected) => until(async () => {
    for (const typist of typists) await typist.press("#text", "x");
    return window.texts("#typing");
  }, ([shown]) => shown === expected, expected);
  await type([bob], ann, "Bob is typing…");
  await type([bob, cato], ann, "Bob and Cato are typing…");
  await type([bob, cato], bob, "Cato is typing…");
  await say(bob, "I think so");
  await type([cato], ann, "Cato is typing…");
  await cato.fill("#text", "");
  await ann.sees("#typing", "");
  // A pause ends typing.
  await type([bob], ann, "Bob is typing…");
  await ann.sees("#typing", "");
  // Leaving the room ends typing.
  await type([cato], ann, "Cato is typing…");
  await enter(cato, "Galley");
  await ann.sees("#typing", "");
});

testEach("a line is shown only in its room", "chat", async (site) => {
  const ann = await come(site, "Ann");
  const [bob, cato] = [await come(site, "Bob", "Harbour"), await come(site, "Cato", "Harbour")];
  await say(bob, "a ship!");
  await hears(cato, ["Bob: a ship!"]);
  await say(ann, "is anybody here?");
  await hears(ann, ["Ann: is anybody here?"]);
  await enter(ann, "Harbour");
  await hears(ann, ["Bob: a ship!"]);
  await say(ann, "where?");
  for (const window of [ann, bob, cato]) await hears(window, ["Bob: a ship!", "Ann: where?"]);
  await ann.page.goBack();
  await hears(ann, ["Ann: is anybody here?"]);
  await say(bob, "there!");
  await hears(cato, ["Bob: a ship!", "Ann: where?", "Bob: there!"]);
  await hears(ann, ["Ann: is anybody here?"]);
});

testEach("an unknown room leads to the first one", "chat", async (site) => {
  const window = await site.window((page) => page.addInitScript(() => (location.hash = "#cellar")));
  await window.fill("#name", "Ann");
  await window.press("#name", "Enter");
  await window.sees('#rooms [aria-current="page"]', "Lobby");
  await window.sees("#title", "Lobby");
});

testEach("each window lists the users in its room", "chat", async (site) => {
  const ann = await come(site, "Ann");
  await ann.seesAll("#here li", ["Ann (you)"]);
  const bob = await come(site, "Bob");
  await ann.seesAll("#here li", ["Ann (you)", "Bob"]);
  await bob.seesAll("#here li", ["Ann", "Bob (you)"]);
  await enter(bob, "Galley");
  await ann.seesAll("#here li", ["Ann (you)"]);
  await bob.seesAll("#here li", ["Bob (you)"]);
  await enter(bob, "Lobby");
  await ann.seesAll("#here li", ["Ann (you)", "Bob"]);
  // Two users of one name are told apart.
  const double = await come(site, "Bob");
  await ann.seesAll("#here li", ["Ann (you)", /^Bob #[0-9a-f]{3}$/, /^Bob #[0-9a-f]{3}$/]);
  const [, one, other] = await ann.texts("#here li");
  assert.notEqual(one, other);
  await say(double, "I am the other one");
  await hears(ann, [`${other}: I am the other one`]);
  await bob.seesAll("#log li.mine", []);
  site.windows.splice(site.windows.indexOf(double), 1);
  await double.close();
  await ann.seesAll("#here li", ["Ann (you)", one]);
  await hears(ann, [`${other}: I am the other one`]);
});

testEach("a newcomer sees the last hundred lines", "chat", async (site) => {
  const ann = await come(site, "Ann");
  const lines = Array.from({ length: 103 }, (_, number) => `Ann: line ${number}`);
  await ann.submit("#say", "#text", lines.map((line) => line.slice("Ann: ".length)));
  await hears(ann, lines);
  const bob = await come(site, "Bob");
  await hears(bob, lines.slice(3));
  await say(bob, "so much!");
  await hears(ann, [...lines, "Bob: so much!"]);
});

testEach("the title counts the lines that arrive while the page is hidden", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  await say(bob, "one");
  await hears(ann, ["Bob: one"]);
  const title = (expected) => until(() => ann.page.title(), (title) => title === expected, `the title ${expected}`);
  await title("Lobby");
  // Headless windows are never hidden by themselves.
  const hide = (hidden) => ann.page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await say(bob, "two");
  await say(bob, "three");
  await title("(2) Lobby");
  await hide(false);
  await title("Lobby");
});

testEach("an invalid name is refused with a reason, and another can be tried", "chat", async (site) => {
  const window = await site.window();
  await window.fill("#name", "  ");
  await window.press("#name", "Enter");
  await window.sees("#refused", "A name has between 1 and 24 characters");
  // The form says it, and nothing else repeats it.
  await window.sees("#status", "Not connected");
  await window.page.evaluate(() => document.querySelector("#name").removeAttribute("maxlength"));
  await window.fill("#name", "n".repeat(25));
  await window.press("#name", "Enter");
  await window.sees("#refused", "A name has between 1 and 24 characters");
  await window.fill("#name", "n".repeat(24));
  await window.press("#name", "Enter");
  await window.seesAll("#here li", [`${"n".repeat(24)} (you)`]);
});

testEach("names and lines are text, and are cut to their limits", "chat", async (site) => {
  const [ann, eve] = [await come(site, "Ann"), await come(site, "<i>Eve</i>")];
  const attack = "<img src=x onerror=\"document.title='hurt'\">";
  await say(eve, attack);
  await hears(ann, [`<i>Eve</i>: ${attack}`]);
  await ann.seesAll("#here li", ["Ann (you)", "<i>Eve</i>"]);
  await eve.page.evaluate(() => document.querySelector("#text").removeAttribute("maxlength"));
  await say(eve, "x".repeat(600));
  await hears(ann, [`<i>Eve</i>: ${attack}`, `<i>Eve</i>: ${"x".repeat(500)}`]);
  assert.equal(await ann.page.title(), "Lobby");
});

testEach("lines written while the server is down are sent once when it is back", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  await say(ann, "before");
  for (const window of [ann, bob]) await hears(window, ["Ann: before"]);
  await site.vanish();
  await say(ann, "between");
  await say(ann, "still away");
  await ann.seesAll("#outbox li", [/not sent yet\s+between/, /still away/]);
  await site.comeBack();
  await say(bob, "after");
  // The new server does not know the first line, but the pages still show it.
  const rest = ["Ann: between", "Ann: still away", "Bob: after"];
  for (const window of [ann, bob]) await window.seesAll("#log li", Array(4).fill(/./));
  for (const window of [ann, bob]) {
    const said = (await window.texts("#log li")).map((line) => line.replace(/\s*\d\d:\d\d\s*/, ": "));
    assert.equal(said[0], "Ann: before");
    assert.deepEqual(said.slice(1).sort(), rest.toSorted());
    assert.ok(said.indexOf(rest[0]) < said.indexOf(rest[1]), "the lines keep their order");
    await window.seesAll("#outbox li", []);
    await window.seesAll("#here li", [/^(Ann|Bob)/, /^(Ann|Bob)/]);
  }
});

testEach("a line that the server never read is delivered once by the next server", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  site.process.kill("SIGSTOP");
  await say(ann, "did you hear me?");
  await ann.seesAll("#outbox li", [/did you hear me\?$/]);
  await site.vanish();
  await site.comeBack();
  for (const window of [ann, bob]) await hears(window, ["Ann: did you hear me?"]);
  await ann.seesAll("#outbox li", []);
});

for (const runtime of RUNTIMES) {
  test(`a line whose acknowledgement was lost is shown once (${runtime})`, async (t) => {
    const site = await start(t, "chat", runtime);
    let [sent, deaf, cut] = [0, false, undefined];
    const sends = (text) => text.includes('"say"') && (sent += 1);
    const ann = await come(site, "Ann", "Lobby", async (page) => {
      // The second connection begins with polling.
      page.on("request", (request) => sends(request.postData() ?? ""));
      await page.routeWebSocket(/./, (socket) => {
        const server = socket.connectToServer();
        socket.onMessage((message) => {
          if (sends(`${message}`)) deaf = true;
          server.send(message);
        });
        server.onMessage((message) => deaf || socket.send(message));
        cut = () => Promise.all([socket.close(), server.close()]);
      });
    });
    const bob = await come(site, "Bob");
    await say(ann, "once");
    await hears(bob, ["Ann: once"]);
    await ann.seesAll("#outbox li", [/once$/]);
    deaf = false;
    await cut();
    await ann.sees("#status", /^Connected (again )?over websocket$/);
    await until(() => sent, (times) => times === 2, "the line to be sent again");
    await ann.seesAll("#outbox li", []);
    await say(bob, "twice?");
    for (const window of [ann, bob]) await hears(window, ["Ann: once", "Bob: twice?"]);
  });
}

testEach("what the page knows of the others is grey while the server is away", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  await until(async () => {
    await bob.press("#text", "x");
    return ann.texts("#typing");
  }, ([shown]) => shown === "Bob is typing…", "Bob is typing…");
  await ann.sees("#people-title", "Here");
  const look = () => Promise.all([colour(ann, "#here li:last-child"), colour(ann, "#people-title")]);
  const [name, title] = await look();
  assert.notEqual(name, title);
  await site.vanish();
  await ann.sees("#typing", "");
  await ann.sees("#people-title", "Last seen here");
  assert.deepEqual(await look(), [title, title]);
  // The room changes later, and the page says so.
  await ann.click('#rooms a >> text="Galley"');
  await ann.sees("#typing", "The server moves you to that room when it is back.");
  await site.comeBack();
  await ann.sees('#rooms [aria-current="page"]', "Galley");
  await ann.sees("#people-title", "Here");
  await bob.seesAll("#here li", ["Bob (you)"]);
  assert.notEqual(await colour(bob, "#here li"), title);
});

testEach("a reload keeps the name, the room and the own lines, until the user leaves", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob", "Harbour")];
  await enter(ann, "Harbour");
  await say(ann, "I stay");
  await hears(bob, ["Ann: I stay"]);
  await ann.page.reload();
  await hears(ann, ["Ann: I stay"]);
  await ann.seesAll("#log li.mine", [/I stay$/]);
  await ann.sees('#rooms [aria-current="page"]', "Harbour");
  await bob.seesAll("#here li", ["Bob (you)", "Ann"]);
  // The old connection and the new one are one user.
  await say(ann, "as I said");
  await hears(bob, ["Ann: I stay", "Ann: as I said"]);
  await ann.click("#leave");
  await bob.seesAll("#here li", ["Bob (you)"]);
  await ann.fill("#name", "Anna");
  await ann.press("#name", "Enter");
  await bob.seesAll("#here li", ["Bob (you)", "Anna"]);
});

testEach("the name is asked for once the page can take it", "chat", async (site) => {
  const ann = await site.window();
  const script = "**/socket.io/socket.io.min.js";
  let load;
  const loads = new Promise((resolve) => (load = resolve));
  await ann.page.route(script, (route) => loads.then(() => route.continue()));
  const asked = ann.page.waitForRequest(script);
  const reloaded = ann.page.reload();
  await asked;
  assert.equal(await ann.page.locator("#name").isVisible(), false);
  load();
  await ann.fill("#name", "Ann");
  await ann.press("#name", "Enter");
  await ann.seesAll("#here li", ["Ann (you)"]);
  await reloaded;
});

testEach("lines of one author in a row are a group", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  for (const text of ["one", "two", "three"]) await say(ann, text);
  await hears(bob, ["Ann: one", "Ann: two", "Ann: three"]);
  await say(bob, "four");
  for (const window of [ann, bob]) {
    await hears(window, ["Ann: one", "Ann: two", "Ann: three", "Bob: four"]);
    await window.seesAll("#log li.grouped", [/two$/, /three$/]);
    // The name and the time are on the page, for screen readers, but are not shown again.
    const names = window.page.locator("#log li b");
    const shown = await names.evaluateAll((names) => names.map((name) => name.offsetWidth > 1));
    assert.deepEqual(shown, [true, false, false, true]);
  }
});

testEach("web addresses are links, and nothing else is", "chat", async (site) => {
  const ann = await come(site, "Ann");
  await say(ann, "See https://example.org/a?b=c&d#e, (http://example.com). javascript:alert(1) //example.net");
  const look = () => ann.page.locator("#log a").evaluateAll((links) => {
    return links.map(({ href, target, rel }) => [href, target, rel]);
  });
  const links = await until(look, (found) => found.length > 0, "links");
  const rest = ["_blank", "noopener noreferrer"];
  assert.deepEqual(links, [["https://example.org/a?b=c&d#e", ...rest], ["http://example.com/", ...rest]]);
});

testEach("a change of rooms moves the focus to the message, and nothing else moves it", "chat", async (site) => {
  const [ann, bob] = [await come(site, "Ann"), await come(site, "Bob")];
  const isIn = (expected) => until(() => focused(ann), (id) => id === expected, `the focus in ${expected}`);
  await isIn("text");
  await ann.press('#rooms a >> text="Galley"', "Enter");
  await ann.sees('#rooms [aria-current="page"]', "Galley");
  await ann.sees("#silence", "Nobody has said anything in this room yet.");
  await isIn("text");
  await ann.page.focus('#rooms a >> text="Harbour"');
  const stays = () => ann.page.evaluate(() => document.activeElement.hash);
  await enter(bob, "Galley");
  await ann.seesAll("#here li", ["Ann (you)", "Bob"]);
  assert.equal(await stays(), "#Harbour");
  await say(bob, "hello");
  await ann.seesAll("#silence", []);
  await site.vanish();
  await site.comeBack();
  await ann.seesAll("#here li", [/./, /./]);
  assert.equal(await stays(), "#Harbour");
});

test("a row of people that is too long for a phone fades out at its end", async (t) => {
  const site = await start(t, "chat", "tokio");
  const phone = { viewport: { width: 320, height: 568 } };
  const ann = await site.window(undefined, phone);
  const names = ["Ann", "Bartholomew", "Featherstone", "Wilhelmina"];
  for (const name of names) {
    const window = name === "Ann" ? ann : await site.window();
    await window.fill("#name", name);
    await window.press("#name", "Enter");
  }
  await ann.seesAll("#here li", ["Ann (you)", ...names.slice(1)]);
  const row = await ann.page.locator("#people").evaluate((row) => {
    row.scrollLeft = row.scrollWidth;
    const end = row.querySelector("li:last-child").getBoundingClientRect().right;
    const left = row.getBoundingClientRect().right - end;
    return { long: row.scrollWidth > row.clientWidth, mask: getComputedStyle(row).maskImage, left };
  });
  assert.ok(row.long);
  assert.match(row.mask, /gradient/);
  // At the end, the last name is in front of the part that fades.
  assert.ok(row.left >= 32, `${row.left} px`);
});
