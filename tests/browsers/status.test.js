// What all pages share: the client's script, and the line that says how the page is connected.
import { hasShown, keepStatuses, testEach } from "./harness.js";

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
