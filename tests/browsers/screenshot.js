// Takes docs/chat.png, the screenshot in the README: `npm run screenshot` in this folder.
import path from "node:path";
import { test } from "node:test";
import { start } from "./harness.js";

const picture = path.resolve(import.meta.dirname, "../../docs/chat.png");

test("the chat on a desktop in light mode and on a phone in dark mode", async (t) => {
  const site = await start(t, "chat", "tokio");
  const desk = { viewport: { width: 680, height: 480 }, colorScheme: "light" };
  const phone = { viewport: { width: 320, height: 480 }, colorScheme: "dark", hasTouch: true };
  const windows = {
    Ines: await site.window(undefined, desk),
    Tom: await site.window(undefined, phone),
    Hanna: await site.window(),
  };
  const say = async (name, text) => {
    await windows[name].fill("#text", text);
    await windows[name].press("#text", "Enter");
    await windows.Ines.page.getByText(text).waitFor();
  };
  for (const [name, window] of Object.entries(windows)) {
    await window.fill("#name", name);
    await window.press("#name", "Enter");
    await window.sees("#status", "Connected over websocket");
  }
  await windows.Ines.seesAll("#here li", ["Ines (you)", "Tom", "Hanna"]);
  await say("Tom", "Has anybody seen the tide table?");
  await say("Ines", "On the wall, beside the kettle.");
  await say("Hanna", "High water is at twenty past four, so be back before that.");
  await say("Tom", "Thanks! I bring fish.");
  await windows.Hanna.fill("#text", "And");
  await windows.Ines.sees("#typing", "Hanna is typing…");
  await windows.Tom.sees("#typing", "Hanna is typing…");
  // Hides the cursor and the ring around the focused element.
  for (const name of ["Ines", "Tom"]) await windows[name].page.evaluate(() => document.activeElement.blur());

  const images = await Promise.all(["Ines", "Tom"].map(async (name) => {
    const png = await windows[name].page.screenshot();
    return `<img src="data:image/png;base64,${png.toString("base64")}">`;
  }));
  const both = await windows.Hanna.page.context().newPage();
  await both.setContent(`
    <style>
      body { margin: 0; display: inline-flex; gap: 16px; padding: 4px; }
      img { border-radius: 12px; box-shadow: 0 0 0 1px #8888; }
    </style>
    ${images.join("")}`);
  await both.locator("body").screenshot({ path: picture, omitBackground: true });
});
