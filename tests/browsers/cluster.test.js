// Two servers that are one cluster over Redis, each with its own windows.
import { Redis, skip } from "../real_servers/cluster/redis.js";
import { Site, startSite, test, until } from "./harness.js";

class Two extends Site {
  constructor(redis) {
    super("cluster", "tokio", "websocket");
    this.redis = redis;
  }

  async start() {
    this.spawn([], { ...process.env, PORT: "0", REDIS: this.redis.url });
    this.urls = [];
    for (let i = 0; i < 2; i++) {
      const [, , url] = await this.line(/^server (\d+): (http:\/\/127\.0\.0\.1:\1)$/);
      this.urls.push(url);
    }
    // Each server is subscribed, and has heard of the other one.
    for (let i = 0; i < 2; i++) await this.line(/^server \d+: the server \w+ has joined the cluster$/);
    await this.busConnected();
  }

  /** Waits until the bus of each server has said that it is connected. */
  async busConnected() {
    for (let i = 0; i < 2; i++) await this.line(/^server \d+: the bus of the cluster is connected$/);
  }

  /** Opens a window of one of the servers. */
  async at(index) {
    this.url = this.urls[index];
    const window = await this.connected();
    await window.sees("#server", `This page is connected to server ${new URL(this.url).port}`);
    return window;
  }
}

async function say(window, text) {
  await window.fill("#text", text);
  await window.press("#text", "Enter");
}

if (skip) {
  console.log(`skipping the page of the cluster: ${skip}`);
} else {
  test("what is said at one server is heard at both, also after Redis was away", async (t) => {
    const redis = await Redis.start();
    t.after(() => redis.end());
    const site = await startSite(t, new Two(redis));
    const [one, two] = [await site.at(0), await site.at(1)];
    const [first, second] = site.urls.map((url) => `server ${new URL(url).port}`);
    await say(one, "hello");
    for (const window of [one, two]) await window.seesAll("#said li", [`${first}: hello`]);
    await say(two, "<b>hi</b>");
    const before = [`${second}: <b>hi</b>`, `${first}: hello`];
    for (const window of [one, two]) await window.seesAll("#said li", before);

    await redis.kill();
    for (let i = 0; i < 2; i++) await site.line(/^server \d+: the bus of the cluster is not connected/);
    await say(one, "alone");
    await one.seesAll("#said li", [`${first}: alone`, ...before]);
    await redis.spawn();
    await site.busConnected();
    // What was said meanwhile has waited for Redis. The other server may have subscribed before it came, or after it.
    await say(two, "together");
    await one.seesAll("#said li", [`${second}: together`, `${first}: alone`, ...before]);
    await until(() => two.texts("#said li"), (texts) => texts.includes(`${second}: together`), "what it has said itself");
  });
}
