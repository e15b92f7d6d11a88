// The server sends the date to every page.
import assert from "node:assert/strict";
import { colour, testEach, until } from "./harness.js";

/** Returns the date that a window shows, in milliseconds. */
async function date(window) {
  return Date.parse(await window.page.getAttribute("#date", "datetime"));
}

/** Waits until a window has shown two later dates. */
async function ticks(window) {
  const first = await until(() => date(window), (shown) => shown > 0, "a date");
  const second = await until(() => date(window), (shown) => shown > first, "the next date");
  await until(() => date(window), (shown) => shown > second, "the date after it");
  assert.ok(Math.abs(Date.now() - second) < 60_000, "the shown date is not the current one");
}

testEach("the date ticks in two windows", "date_notifier", async (site) => {
  const windows = [await site.connected(), await site.connected()];
  await Promise.all(windows.map(ticks));
  await windows[0].sees("#time", /^\d\d:\d\d:\d\d$/);
});

testEach("the date ticks again when the server is back", "date_notifier", async (site) => {
  const window = await site.connected();
  await ticks(window);
  // A stopped clock does not look like one that ticks.
  const ink = await colour(window, "#time");
  await window.sees("#who", "The server says that it is");
  await site.vanish();
  await window.sees("#who", "The server is away. It last said that it was");
  assert.notEqual(await colour(window, "#time"), ink);
  await site.comeBack();
  await ticks(window);
  await window.sees("#who", "The server says that it is");
  assert.equal(await colour(window, "#time"), ink);
});
