// What all pages share: the client's script, and the line that says how the page is connected.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { hasShown, keepStatuses, start, test, testEach } from "./harness.js";

const EXAMPLES = ["date_notifier", "acknowledgements", "chat", "attach_axum", "private_messaging"];

for (const example of EXAMPLES) {
  test(`the page needs nothing but its server (${example})`, async (t) => {
    const site = await start(t, example, "tokio");
    const elsewhere = [];
    const window = await site.window((page) => page.route((url) => url.origin !== site.url, (route) => {
      elsewhere.push(route.request().url());
      return route.abort();
    }));
    if (example === "chat" || example === "private_messaging") {
      await window.fill("#name", "Ann");
      await window.press("#name", "Enter");
    }
    // After the login, the page of the private messages is loaded again.
    await window.page.waitForFunction(() => /^Connected over/.test(document.querySelector("#status")?.textContent));
    assert.deepEqual(elsewhere, []);
  });
}

test("the client's script is the one of the npm package", async () => {
  const here = import.meta.dirname;
  const copy = await readFile(path.resolve(here, "../../examples/page/socket.io.esm.min.js"), "utf8");
  const original = path.resolve(here, "node_modules/socket.io-client/dist/socket.io.esm.min.js");
  assert.equal(copy, await readFile(original, "utf8"));
});

testEach("a page says for a while that it is connected again", "date_notifier", async (site) => {
  const window = await site.window(async (page) => {
    await keepStatuses(page);
    await page.clock.install();
  });
  await window.sees("#status", `Connected over ${site.transport}`);
  await site.vanish();
  await site.start();
  await hasShown(window, `Connected again over ${site.transport}`);
  await window.page.clock.fastForward(5000);
  await window.sees("#status", `Connected over ${site.transport}`);
});
