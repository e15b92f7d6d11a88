// Shared by the tests: starts a program of the examples, and opens its page in windows of Chromium.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { after, describe } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { chromium } from "playwright-core";
import { Program, test } from "../real_clients/program.js";

export { test };

/** The deadline of every wait, in milliseconds. A server notices a tab that is closed between two polls by its heartbeat,
 * after 45 s. */
const DEADLINE = 60_000;

export const RUNTIMES = ["tokio", "smol"];
/** What each test runs on. tests/real_clients has every runtime with every transport. */
const RUNS = [
  ["tokio", "websocket"],
  ["smol", "polling"],
];
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
// Chromium must not look for updates, and must work in containers, which have no sandbox and no GPU.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const script = path.resolve(import.meta.dirname, "../../examples/node_modules/socket.io-client/dist");
assert.ok(existsSync(script), "the JavaScript client is missing: npm --prefix examples install");
assert.ok(existsSync(CHROMIUM), `${CHROMIUM} is missing: install Chromium, or set CHROMIUM to its path`);

let launched;
after(async () => (await launched)?.close());

function browser() {
  launched ??= chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  return launched;
}

/** Opens an empty page, which is closed when the test ends. */
export async function newPage(t) {
  const context = await (await browser()).newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  return page;
}

/** Registers a test for each of the `RUNS`: once with windows that can use WebSocket, and once with windows that cannot. */
export function testEach(name, example, run) {
  // All at a time, because the tests mostly wait.
  describe(name, { concurrency: true }, () => {
    for (const [runtime, transport] of RUNS) {
      test(`${name} (${runtime}, ${transport})`, async (t) => {
        const site = await start(t, example, runtime, transport);
        await run(site);
        for (const window of site.windows) await window.sees("#status", new RegExp(`over ${transport}$`));
      });
    }
  });
}

/** Starts a program. It and its windows are closed when the test ends. */
export function start(t, example, runtime, transport = "websocket") {
  return startSite(t, new Site(example, runtime, transport));
}

/** The same for a site of another kind. */
export async function startSite(t, site) {
  t.after(async () => {
    await Promise.all(site.windows.map((window) => window.close()));
    await site.kill();
    assert.deepEqual(site.errors, []);
  });
  await site.start();
  return site;
}

/** A program that runs, with the windows of its page. */
export class Site extends Program {
  constructor(example, runtime, transport) {
    super(example);
    this.runtime = runtime;
    this.transport = transport;
    this.windows = [];
    /** Uncaught errors of the pages' scripts. */
    this.errors = [];
  }

  async start() {
    const spawn = (PORT) => this.spawn(["--runtime", this.runtime], { ...process.env, PORT });
    [, this.url] = await this.listen(spawn, /^listening on (http:\/\/127\.0\.0\.1:(?<port>\d+))$/);
  }

  /** Opens a window that shares nothing with the others. `prepare` is called with its page before that loads. */
  async window(prepare = () => {}, options = {}) {
    return this.open(await this.context(options), prepare);
  }

  /** Creates the cookies and the storage of a window that is not open yet. */
  async context(options = {}) {
    return (await browser()).newContext({ locale: "en-GB", ...options });
  }

  /** Opens another tab beside a window, with the same cookies. */
  tab(window) {
    return this.open(window.page.context());
  }

  async open(context, prepare = () => {}) {
    const page = await context.newPage();
    page.setDefaultTimeout(DEADLINE);
    page.on("pageerror", (error) => this.errors.push(error.message));
    // Like a proxy that does not support WebSocket.
    if (this.transport === "polling") await page.routeWebSocket(/./, (socket) => socket.close());
    await prepare(page);
    await page.goto(this.url);
    const window = new Window(page);
    this.windows.push(window);
    return window;
  }

  /** Closes a tab, but keeps its cookies for others. */
  async closeTab(window) {
    this.windows.splice(this.windows.indexOf(window), 1);
    await window.page.close();
  }

  /** Opens a window, and waits until it is connected over the transport of this site. */
  async connected() {
    const window = await this.window();
    await window.sees("#status", `Connected over ${this.transport}`);
    return window;
  }

  /** Kills the server, and waits until every window has noticed. */
  async vanish() {
    await this.kill();
    for (const window of this.windows) await window.sees("#status", /trying again$/);
  }

  /** Starts the server again, and waits until every window has reconnected. */
  async comeBack() {
    await this.start();
    const connected = new RegExp(`^Connected (again )?over ${this.transport}$`);
    for (const window of this.windows) await window.sees("#status", connected);
  }
}

class Window {
  constructor(page) {
    this.page = page;
  }

  close() {
    return this.page.context().close();
  }

  fill(selector, text) {
    return this.page.fill(selector, text);
  }

  press(selector, key) {
    return this.page.press(selector, key);
  }

  click(selector) {
    return this.page.click(selector);
  }

  /** Submits a form once for each text, which is faster than typing them. */
  submit(form, input, texts) {
    return this.page.evaluate(([form, input, texts]) => {
      for (const text of texts) {
        document.querySelector(input).value = text;
        document.querySelector(form).requestSubmit();
      }
    }, [form, input, texts]);
  }

  /** Returns the texts of the visible elements. */
  texts(selector) {
    return this.page.locator(selector).filter({ visible: true }).allInnerTexts();
  }

  /** Waits until exactly one element is visible and has this text. */
  sees(selector, text) {
    return this.seesAll(selector, [text]);
  }

  /** Waits until the visible elements have exactly these texts. */
  seesAll(selector, expected) {
    const fits = (text, at) => (expected[at] instanceof RegExp ? expected[at].test(text) : expected[at] === text);
    const look = () => this.texts(selector);
    return until(look, (texts) => texts.length === expected.length && texts.every(fits), `${selector}: ${expected}`);
  }
}

/** Returns the colour in which an element is written. */
export function colour(window, selector) {
  return window.page.locator(selector).evaluate((element) => getComputedStyle(element).color);
}

/** Returns the id of the element that has the focus. */
export function focused(window) {
  return window.page.evaluate(() => document.activeElement.id);
}

/** Makes a window keep every status that it shows, because the page soon replaces it. */
export function keepStatuses(page) {
  return page.addInitScript(() => {
    window.said = [];
    const look = () => window.said.push(document.querySelector("#status")?.textContent);
    new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
  });
}

/** Waits until a window that keeps its statuses has shown this one. */
export function hasShown(window, status) {
  return until(() => window.page.evaluate(() => window.said), (said) => said.includes(status), status);
}

/** Calls `look` until its result fits, and returns that. */
export async function until(look, fits, what) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const seen = await look();
    if (fits(seen)) return seen;
    if (Date.now() > end) assert.fail(`timed out waiting for ${what}; last seen: ${JSON.stringify(seen)}`);
    await delay(20);
  }
}
