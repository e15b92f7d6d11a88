// What every page looks like, in each size and colour scheme and in each of its states: nothing leaves the window, all
// text can be read, every control is named, large enough and shows the focus, and nothing moves.
import assert from "node:assert/strict";
import { start, test } from "./harness.js";

const SIZES = [[1280, 800], [390, 844], [320, 568]];
const SCHEMES = ["light", "dark"];

/** Names that are long, cannot be broken, or are written from right to left. */
const NAMES = ["Ann", "Bartholomew Featherstone", "W".repeat(24), "نور الهدى", "Zoë", "Cato"];
const ADDRESS = "https://example.org/a/path?that=goes-on-and-on-and-on-and-on-and-on";
const TEXTS = ["Hello", `see ${ADDRESS}`, "W".repeat(120), "مرحبا بالجميع"];

/** Opens a page once for each size and scheme. */
async function windowsOf(site) {
  const views = SIZES.flatMap(([width, height]) => SCHEMES.map((colorScheme) => {
    return { viewport: { width, height }, colorScheme, reducedMotion: "reduce" };
  }));
  const windows = [];
  for (const view of views) windows.push(Object.assign(await site.window(undefined, view), { view }));
  return windows;
}

/** Checks every window; `state` is for the message. */
async function check(windows, state) {
  for (const { page, view } of windows) {
    const found = await page.evaluate(faults);
    const where = `${state}, ${view.viewport.width} px, ${view.colorScheme}`;
    assert.deepEqual(found, [], where);
  }
  const look = ({ page }) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(new Set(await Promise.all(windows.map(look))).size, 2, "light and dark have different grounds");
}

/** Runs in the page, and returns what is wrong with it. */
function faults() {
  const found = [];
  const name = (element) => element.cloneNode().outerHTML + element.textContent.slice(0, 20);
  // What is for screen readers only is one pixel wide.
  const seen = (element) => element.checkVisibility() && element.getBoundingClientRect().width > 1;

  // Nothing leaves the window sideways, but a strip may be scrolled.
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push("the page is wider than the window");
  for (const element of document.body.querySelectorAll("*")) {
    const { left, right } = element.getBoundingClientRect();
    const fits = left >= -0.5 && right <= width + 0.5;
    if (seen(element) && !fits && !element.closest(".strip > *")) found.push(`${name(element)} is cut off`);
  }

  // Contrast, as WCAG 2.2 defines it. A canvas converts all notations of colours.
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgba(colour).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return rgba(colour)[3] === 255 ? colour : ground(element.parentElement);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !seen(element) || element.closest(":disabled, script")) continue;
    const ratio = contrast(getComputedStyle(element).color, ground(element));
    if (ratio < 4.5) found.push(`${name(element)} has a contrast of ${ratio.toFixed(2)}`);
    if (getComputedStyle(element).opacity !== "1") found.push(`${name(element)} is transparent`);
  }
  // Users can have any hue.
  for (const paper of [...document.querySelectorAll("#paper li, #here, #users a")].filter(seen)) {
    const user = Object.assign(document.createElement("b"), { className: "user" });
    paper.append(user);
    for (let hue = 0; hue < 360; hue += 5) {
      user.style.setProperty("--hue", hue);
      const ratio = contrast(getComputedStyle(user).color, ground(paper));
      if (ratio < 4.5) found.push(`the hue ${hue} has a contrast of ${ratio.toFixed(2)} in ${name(paper)}`);
    }
    user.remove();
  }

  for (const control of [...document.querySelectorAll("input, button, nav a")].filter(seen)) {
    const { height } = control.getBoundingClientRect();
    const least = control.classList.contains("plain") ? 24 : 40;
    // Twice as high, and its text would be broken.
    const most = control.tagName === "BUTTON" ? 2 * least : Infinity;
    if (height < least || height >= most) found.push(`${name(control)} is ${height} px high`);
    const label = control.ariaLabel ?? control.labels?.[0]?.textContent ?? control.textContent;
    if (!label.trim()) found.push(`${name(control)} has no name`);
  }
  const status = document.getElementById("status");
  if (status.role !== "status") found.push("screen readers do not announce the status");
  if (!/^\p{Lu}/u.test(status.innerText)) found.push(`the status “${status.innerText}” begins with a small letter`);
  if (document.getAnimations().length) found.push("something moves");
  return found;
}

/** Goes through a page with the Tab key, and checks that these are reached in this order, and show the focus. */
async function tabs({ page }, selectors) {
  await page.evaluate(() => {
    // The order goes on behind the element that had the focus.
    const top = Object.assign(document.createElement("i"), { tabIndex: -1 });
    document.body.prepend(top);
    top.focus();
    top.remove();
  });
  for (const selector of selectors) {
    await page.keyboard.press("Tab");
    const [reached, outline, element] = await page.evaluate((selector) => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      const element = document.activeElement;
      return [element.matches(selector), `${outlineWidth} ${outlineStyle}`, element.outerHTML];
    }, selector);
    assert.ok(reached, `${selector} instead of ${element}`);
    assert.equal(outline, "3px solid", element);
  }
}

const each = (windows, act) => Promise.all(windows.map(act));

async function submit(window, selector, text) {
  await window.fill(selector, text);
  await window.press(selector, "Enter");
}

test("the date can be read in each size, scheme and state", async (t) => {
  const site = await start(t, "date_notifier", "tokio");
  const windows = await windowsOf(site);
  for (const window of windows) await window.sees("#time", /\d/);
  await check(windows, "connected");
  await site.vanish();
  await check(windows, "away");
});

test("the acknowledgements can be read in each size, scheme and state", async (t) => {
  const site = await start(t, "acknowledgements", "tokio");
  const windows = await windowsOf(site);
  for (const window of windows) await window.sees("#status", "Connected over websocket");
  await check(windows, "connected");
  await tabs(windows[0], ["#a", "#b", "#add button", "#ask"]);
  await each(windows, (window) => window.click("#ask"));
  for (const window of windows) await window.sees("#question label", /\?$/);
  await check(windows, "asked");
  await site.vanish();
  await check(windows, "away");
});

test("the page inside axum can be read in each size, scheme and state", async (t) => {
  const site = await start(t, "attach_axum", "tokio");
  const windows = await windowsOf(site);
  for (const window of windows) await window.sees("#name", "anonymous");
  await check(windows, "connected");
  await tabs(windows[0], ["#login", "form button", "#paper", "#text", "#say button"]);
  await fetch(`${site.url}/announce`, { method: "POST", body: "W".repeat(90) });
  for (const text of TEXTS) await submit(windows[0], "#text", text);
  for (const window of windows) await window.seesAll("#log li", TEXTS.map((text) => `anonymous: ${text}`));
  await check(windows, "full");
  await site.vanish();
  await each(windows, (window) => submit(window, "#text", "anybody?"));
  await check(windows, "away");
});

test("the chat can be read in each size, scheme and state", async (t) => {
  const site = await start(t, "chat", "tokio");
  const windows = await windowsOf(site);
  await each(windows, (window) => submit(window, "#name", "  "));
  for (const window of windows) await window.sees("#refused", /^A name/);
  await check(windows, "refused");
  for (const [at, window] of windows.entries()) {
    await submit(window, "#name", NAMES[at]);
    await window.sees("#silence", /^Nobody/);
  }
  for (const window of windows) await window.seesAll("#here li", NAMES.map(() => /./));
  await check(windows, "empty");
  await tabs(windows[0], ["#leave", ...Array(3).fill("#rooms a"), "#paper", "#text", "#say button"]);
  for (const window of windows) for (const text of TEXTS) await submit(window, "#text", text);
  for (const window of windows) await window.seesAll("#log li", windows.flatMap(() => TEXTS.map(() => /./)));
  for (const window of windows.slice(1)) await window.press("#text", "x");
  await windows[0].sees("#typing", /typing…$/);
  await check(windows, "full");
  await site.vanish();
  await each(windows, (window) => submit(window, "#text", "anybody?"));
  await check(windows, "away");
});

test("the private messages can be read in each size, scheme and state", async (t) => {
  const site = await start(t, "private_messaging", "tokio");
  const windows = await windowsOf(site);
  await each(windows, (window) => submit(window, "#name", "  "));
  for (const window of windows) await window.sees("#refused", /^A name/);
  await check(windows, "refused");
  await each(windows, async (window, at) => {
    await submit(window, "#name", NAMES[at]);
    await window.page.waitForSelector("#chat:not([hidden])");
  });
  for (const window of windows) await window.seesAll("#users a", NAMES.slice(1).map(() => /./));
  await check(windows, "logged in");
  for (const [at, window] of windows.entries()) {
    await window.page.evaluate((name) => (location.hash = new URLSearchParams({ with: name })), at ? "Ann" : "Cato");
    await window.sees("#silence", /^No messages/);
  }
  await check(windows, "empty");
  await tabs(windows[0], ["#logout button", ...NAMES.slice(1).map(() => "#users a"), "#paper", "#text", "#say button"]);
  for (const window of windows) for (const text of TEXTS) await submit(window, "#text", text);
  await windows[0].seesAll("#log li", [...TEXTS, ...TEXTS].map(() => /./));
  await windows[0].seesAll("#log .mark", TEXTS.map(() => "read"));
  await check(windows, "full");
  await site.vanish();
  await each(windows, (window) => submit(window, "#text", "anybody?"));
  await check(windows, "away");
});
