// Where the client's script is not to be had, the page says so; and where the server has none, it asks the CDN.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { RUNTIMES, start, test } from "./harness.js";

const SENTENCE = "The client’s script could not be loaded: go online, or run npm install in the folder examples.";
const SERVERS = "**/socket.io/socket.io.js";
const CDNS = "https://cdn.socket.io/**";
const client = path.resolve(import.meta.dirname, "node_modules/client-of-the-cdn/dist/socket.io.min.js");

function testEach(name, run) {
  for (const example of ["date_notifier", "acknowledgements", "chat", "attach_axum"]) {
    for (const runtime of RUNTIMES) {
      test(`${name} (${example}, ${runtime})`, async (t) => run(await start(t, example, runtime), example));
    }
  }
}

/** An answer of the CDN. */
function gives(body) {
  const headers = { "access-control-allow-origin": "*", "content-type": "text/javascript" };
  return (route) => route.fulfill({ body, headers });
}

/** The page did not catch it, so that it is in the browser's console as well. */
function expectOneError(site) {
  const [error] = site.errors.splice(0, 1);
  if (!/socket\.io\.min\.js could not be loaded$/.test(error)) throw new Error(`another error: ${error}`);
}

testEach("a script that is nowhere is a sentence on the page", async (site) => {
  const window = await site.window(async (page) => {
    await page.route(SERVERS, (route) => route.abort());
    await page.route(CDNS, (route) => route.abort());
  });
  await window.sees("#status", SENTENCE);
  expectOneError(site);
});

testEach("a script of the CDN that is not the one we know is not run", async (site) => {
  const window = await site.window(async (page) => {
    await page.route(SERVERS, (route) => route.fulfill({ status: 404 }));
    await page.route(CDNS, gives("document.title = 'hacked'"));
  });
  await window.sees("#status", SENTENCE);
  expectOneError(site);
});

testEach("a server without the script has a page that takes it from the CDN", async (site, example) => {
  const script = await readFile(client);
  const window = await site.window(async (page) => {
    await page.route(SERVERS, (route) => route.fulfill({ status: 404 }));
    await page.route(CDNS, gives(script));
  });
  if (example === "chat") {
    await window.fill("#name", "Ann");
    await window.press("#name", "Enter");
  }
  await window.sees("#status", "connected over websocket");
});
