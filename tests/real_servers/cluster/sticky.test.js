// Clients that poll, through the load balancers of docs/guide/sticky.md.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { io } from "socket.io-client";
import { startProxy } from "../../proxies/harness.js";
import { test } from "../../real_clients/program.js";
import { Cluster, eventually, skip } from "./harness.js";

const guide = readFileSync(path.join(import.meta.dirname, "../../../docs/guide/sticky.md"), "utf8");

/** The load balancers, and the options by which one of several clients is known. */
const BALANCERS = {
  nginx: (i) => ({ agent: new http.Agent({ localAddress: `127.0.0.${i + 1}`, keepAlive: true }) }),
  haproxy: () => ({ withCredentials: true }),
};

for (const [proxy, options] of Object.entries(BALANCERS)) {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const isMissing = spawnSync(proxy, ["-v"], { env }).error !== undefined;
  const reason = skip || (isMissing && `${proxy} is missing: apt-get install ${proxy}`);
  if (reason) {
    console.log(`skipping sticky sessions by ${proxy}: ${reason}`);
    continue;
  }
  test(`clients that poll stay at their server behind ${proxy}`, async (t) => {
    const cluster = await Cluster.start("sharded", { kinds: ["tokio", "smol"] });
    t.after(() => cluster.end());
    const [, text] = new RegExp(`\`\`\`${proxy}\n([^]*?)\`\`\``).exec(guide);
    const ports = cluster.nodes.map(({ port }) => port);
    const ported = text.replaceAll(":3001", `:${ports[0]}`).replaceAll(":3002", `:${ports[1]}`);
    const url = await startProxy(t, proxy, ported, 0);
    const clients = Array.from({ length: 24 }, (_, i) => {
      return io(url, { transports: ["polling"], forceNew: true, reconnection: false, ...options(i) });
    });
    t.after(() => clients.forEach((client) => client.disconnect()));
    await eventually("the clients to connect", () => clients.every((client) => client.connected) || undefined);
    const got = clients.map(() => 0);
    clients.forEach((client, i) => client.on("news", () => got[i]++));
    for (let n = 1; n <= 5; n++) {
      for (const client of clients) assert.equal(await client.emitWithAck("emit", { event: "news", args: [] }), true);
      await eventually("the news", () => got.every((count) => count === n * clients.length) || undefined);
    }
    assert.ok(clients.every((client) => client.connected && client.io.engine.transport.name === "polling"));
    // Both servers have some of them, and each names the other one.
    const answers = await Promise.all(clients.map((client) => client.emitWithAck("tell", { event: "where", args: [] })));
    assert.deepEqual([...new Set(answers.flat())].sort(), ports.sort());
  });
}
