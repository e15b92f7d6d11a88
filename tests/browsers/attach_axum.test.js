// The server inside an axum application: each window has a login session of its own.
import assert from "node:assert/strict";
import { hasShown, keepStatuses, testEach } from "./harness.js";

/** Logs in, and waits for the page that the form loads; it has a new connection. */
async function logIn(window, name) {
  await window.fill("#login", name);
  await window.press("#login", "Enter");
  await window.sees("#name", name);
}

async function say(window, text) {
  await window.fill("#text", text);
  await window.press("#text", "Enter");
}

/** Sends an announcement to the application, as another program would. */
async function announce(site, text) {
  const response = await fetch(`${site.url}/announce`, { method: "POST", body: text });
  assert.equal(response.status, 200);
  return response.text();
}

testEach("a login sets the name in its own session only", "attach_axum", async (site) => {
  const [a, b] = [await site.connected(), await site.connected()];
  for (const window of [a, b]) {
    await window.sees("#name", "anonymous");
    await window.sees("#ip", "127.0.0.1");
  }
  await logIn(a, "Ann");
  await a.page.reload();
  await a.sees("#name", "Ann");
  // A name that is longer than the page allows is cut, and a name is text, not HTML.
  await b.page.evaluate(() => document.querySelector("#login").removeAttribute("maxlength"));
  await b.fill("#login", ` <i>${"b".repeat(40)}`);
  await b.click("text=Log in");
  await b.sees("#name", `<i>${"b".repeat(27)}`);
  await a.sees("#name", "Ann");
});

testEach("lines show the name of their session and keep their order", "attach_axum", async (site) => {
  const [ann, other] = [await site.connected(), await site.connected()];
  await logIn(ann, "Ann");
  const attack = "<img src=x onerror=\"document.title='hurt'\">";
  const lines = [...Array.from({ length: 10 }, (_, number) => `line ${number}`), attack];
  for (const line of lines) await say(ann, line);
  const said = lines.map((line) => `Ann: ${line}`);
  for (const window of [ann, other]) await window.seesAll("#log li", said);
  await say(other, "me, too");
  for (const window of [ann, other]) await window.seesAll("#log li", [...said, "anonymous: me, too"]);
  await other.page.evaluate(() => document.querySelector("#text").removeAttribute("maxlength"));
  await say(other, "x".repeat(600));
  for (const window of [ann, other]) {
    await window.seesAll("#log li", [...said, "anonymous: me, too", `anonymous: ${"x".repeat(500)}`]);
    assert.equal(await window.page.title(), "Sockeye: inside axum");
  }
});

testEach("an announcement is shown in every window", "attach_axum", async (site) => {
  const windows = [await site.connected(), await site.connected()];
  assert.equal(await announce(site, "tea is ready"), "2 told\n");
  for (const window of windows) await window.seesAll("#announcements li", ["tea is ready"]);
  for (const text of ["<b>cake</b>", "one left", "none left"]) await announce(site, text);
  // Only the last three are kept.
  for (const window of windows) {
    await window.seesAll("#announcements li", ["<b>cake</b>", "one left", "none left"]);
    await window.seesAll("#log li", []);
  }
});

testEach("the page reconnects when the server is back", "attach_axum", async (site) => {
  const [ann, other] = [await site.connected(), await site.connected()];
  await logIn(ann, "Ann");
  await ann.sees("#status", `Connected over ${site.transport}`);
  await site.vanish();
  await say(ann, "hello?");
  await ann.sees("#waiting", "Your words are sent when the server is back.");
  // The form would leave the page, for one that nobody serves.
  for (const window of [ann, other]) assert.ok(await window.page.isDisabled("form[action] button"));
  await site.comeBack();
  await ann.seesAll("#waiting", []);
  // The sessions were in the memory of the first server. The other window may have reconnected too late for the line.
  await ann.sees("#name", "anonymous");
  await ann.seesAll("#log li", ["anonymous: hello?"]);
  await logIn(ann, "Ann");
  await say(ann, "here I am");
  for (const window of [ann, other]) await window.sees("#log li:last-child", "Ann: here I am");
  assert.equal(await announce(site, "we are back"), "2 told\n");
  for (const window of [ann, other]) await window.sees("#announcements li", "we are back");
});

testEach("an interrupt closes every connection properly and ends the server", "attach_axum", async (site) => {
  const keep = async (page) => {
    await keepStatuses(page);
    await page.addInitScript(() => {
      window.codes = [];
      window.WebSocket = class extends WebSocket {
        constructor(...args) {
          super(...args);
          this.addEventListener("close", (event) => window.codes.push(event.code));
        }
      };
    });
  };
  const windows = [await site.window(keep), await site.window(keep)];
  for (const window of windows) await window.sees("#status", `Connected over ${site.transport}`);
  site.process.kill("SIGINT");
  for (const window of windows) {
    await hasShown(window, "Disconnected (transport close), trying again");
    // 1001 means that the server goes away; a lost connection would be 1006.
    if (site.transport === "websocket") assert.deepEqual(await window.page.evaluate(() => window.codes), [1001]);
  }
  assert.deepEqual(await site.exited, [0, null]);
  await site.comeBack();
});
