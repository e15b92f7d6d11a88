// An axum application around the server: each window has a session of its own.
import assert from "node:assert/strict";
import { testEach, until } from "./harness.js";

/** Waits for the page that comes back, which has a connection of its own. */
async function logIn(window, name) {
  await window.fill("#login", name);
  await window.press("#login", "Enter");
  await window.sees("#name", name);
}

async function say(window, text) {
  await window.fill("#text", text);
  await window.press("#text", "Enter");
}

/** As another program does it. */
async function announce(site, text) {
  const response = await fetch(`${site.url}/announce`, { method: "POST", body: text });
  assert.equal(response.status, 200);
  return response.text();
}

testEach("who logs in has a name, in this session only", "attach_axum", async (site) => {
  const [a, b] = [await site.connected(), await site.connected()];
  for (const window of [a, b]) {
    await window.sees("#name", "somebody");
    await window.sees("#ip", "127.0.0.1");
  }
  await logIn(a, "Ann");
  await a.page.reload();
  await a.sees("#name", "Ann");
  // What the page would not send is cut; and a name is text.
  await b.page.evaluate(() => document.querySelector("#login").removeAttribute("maxlength"));
  await b.fill("#login", ` <i>${"b".repeat(40)}`);
  await b.click("text=Log in");
  await b.sees("#name", `<i>${"b".repeat(27)}`);
  await a.sees("#name", "Ann");
});

testEach("what is said has the name of the session, and its order", "attach_axum", async (site) => {
  const [ann, other] = [await site.connected(), await site.connected()];
  await logIn(ann, "Ann");
  const attack = "<img src=x onerror=\"document.title='hurt'\">";
  const lines = [...Array.from({ length: 10 }, (_, number) => `line ${number}`), attack];
  for (const line of lines) await say(ann, line);
  const said = lines.map((line) => `Ann: ${line}`);
  for (const window of [ann, other]) await window.seesAll("#log li", said);
  await say(other, "me, too");
  for (const window of [ann, other]) await window.seesAll("#log li", [...said, "somebody: me, too"]);
  await other.page.evaluate(() => document.querySelector("#text").removeAttribute("maxlength"));
  await say(other, "x".repeat(600));
  for (const window of [ann, other]) {
    await window.seesAll("#log li", [...said, "somebody: me, too", `somebody: ${"x".repeat(500)}`]);
    assert.equal(await window.page.title(), "Sockeye: inside of axum");
  }
});

testEach("an announcement is shown in every window", "attach_axum", async (site) => {
  const windows = [await site.connected(), await site.connected()];
  assert.equal(await announce(site, "tea is ready"), "2 told\n");
  for (const window of windows) await window.seesAll("#announcements li", ["tea is ready"]);
  for (const text of ["<b>cake</b>", "one left", "none left"]) await announce(site, text);
  // The last three.
  for (const window of windows) {
    await window.seesAll("#announcements li", ["<b>cake</b>", "one left", "none left"]);
    await window.seesAll("#log li", []);
  }
});

testEach("the page finds the server that is back", "attach_axum", async (site) => {
  const [ann, other] = [await site.connected(), await site.connected()];
  await logIn(ann, "Ann");
  await ann.sees("#status", `connected over ${site.transport}`);
  await site.vanish();
  await say(ann, "hello?");
  await site.comeBack();
  // Sessions were in the memory of the first; the other window may have come back too late for the line.
  await ann.sees("#name", "somebody");
  await ann.seesAll("#log li", ["somebody: hello?"]);
  await logIn(ann, "Ann");
  await say(ann, "here I am");
  for (const window of [ann, other]) await window.sees("#log li:last-child", "Ann: here I am");
  assert.equal(await announce(site, "we are back"), "2 told\n");
  for (const window of [ann, other]) await window.sees("#announcements li", "we are back");
});

testEach("an interrupt says goodbye to every page, and ends the server", "attach_axum", async (site) => {
  const keep = (page) => page.addInitScript(() => {
    // What the page says is soon replaced.
    window.said = [];
    const look = () => window.said.push(document.querySelector("#status")?.textContent);
    new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
    window.codes = [];
    window.WebSocket = class extends WebSocket {
      constructor(...args) {
        super(...args);
        this.addEventListener("close", (event) => window.codes.push(event.code));
      }
    };
  });
  const windows = [await site.window(keep), await site.window(keep)];
  for (const window of windows) await window.sees("#status", `connected over ${site.transport}`);
  site.process.kill("SIGINT");
  for (const window of windows) {
    const look = () => window.page.evaluate(() => window.said);
    const goodbye = "disconnected (transport close), trying again";
    await until(look, (said) => said.includes(goodbye), goodbye);
    // The server goes away; 1006 would be a connection that only broke.
    if (site.transport === "websocket") assert.deepEqual(await window.page.evaluate(() => window.codes), [1001]);
  }
  assert.deepEqual(await site.exited, [0, null]);
  await site.comeBack();
});
