// A page whose server does not have the client's script loads it from the CDN, and says so if that fails as well.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { RUNTIMES, start, test } from "./harness.js";

const SENTENCE = "The JavaScript client is missing: go online, or run npm install in the folder examples, and reload this page.";
const SERVERS = "**/socket.io/socket.io.min.js";
const CDNS = "https://cdn.socket.io/**";
const client = path.resolve(import.meta.dirname, "node_modules/client-of-the-cdn/dist/socket.io.min.js");

function testEach(name, run) {
  for (const example of ["date_notifier", "acknowledgements", "chat", "attach_axum", "private_messaging"]) {
    for (const runtime of RUNTIMES) {
      test(`${name} (${example}, ${runtime})`, async (t) => run(await start(t, example, runtime), example));
    }
  }
}

/** Returns a route handler that responds as the CDN does. */
function gives(body) {
  const headers = { "access-control-allow-origin": "*", "content-type": "text/javascript" };
  return (route) => route.fulfill({ body, headers });
}

/** Checks that the page threw the error, which shows it in the browser's console as well. */
function expectOneError(site) {
  const [error] = site.errors.splice(0, 1);
  if (!/socket\.io\.min\.js could not be loaded$/.test(error)) throw new Error(`another error: ${error}`);
}

testEach("the page says that no script could be loaded", async (site) => {
  const window = await site.window(async (page) => {
    await page.route(SERVERS, (route) => route.abort());
    await page.route(CDNS, (route) => route.abort());
  });
  await window.sees("#status", SENTENCE);
  expectOneError(site);
});

testEach("a script of the CDN with another hash is not run", async (site) => {
  const window = await site.window(async (page) => {
    await page.route(SERVERS, (route) => route.fulfill({ status: 404 }));
    await page.route(CDNS, gives("document.title = 'hacked'"));
  });
  await window.sees("#status", SENTENCE);
  expectOneError(site);
});

testEach("the page of a server without the script loads it from the CDN", async (site, example) => {
  const script = await readFile(client);
  const window = await site.window(async (page) => {
    await page.route(SERVERS, (route) => route.fulfill({ status: 404 }));
    await page.route(CDNS, gives(script));
  });
  if (example === "private_messaging") {
    // Nobody has logged in, but the page has reached the server.
    await window.sees("#status", "Not connected");
    return;
  }
  if (example === "chat") {
    await window.fill("#name", "Ann");
    await window.press("#name", "Enter");
  }
  await window.sees("#status", "Connected over websocket");
});
