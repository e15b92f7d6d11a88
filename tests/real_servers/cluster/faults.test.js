// A cluster of servers in Rust and in Node when something fails: Redis, or one of the servers.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { test } from "../../real_clients/program.js";
import { Cluster, eventually, skip } from "./harness.js";

/** Runs a test on a cluster of its own. */
function testOn(name, dialects, run, options = {}) {
  for (const dialect of dialects) {
    test(`${name} (${dialect})`, async () => {
      const cluster = await Cluster.start(dialect, options);
      try {
        await run(cluster);
      } finally {
        await cluster.end();
      }
    });
  }
}

const ALL = ["classic", "sharded", "streams"];

describe("faults", { skip, concurrency: 1 }, () => {
  testOn("a Redis that is killed and started again is found again, and local clients are served meanwhile", ALL, async (cluster) => {
    const { clients, redis } = cluster;
    await cluster.join("room");
    const companions = await Promise.all(cluster.nodes.map((node, i) => cluster.connect(node, `companion ${i}`)));
    await redis.kill();
    const ours = clients.filter(({ node }) => node.kind !== "node");
    for (const client of ours) {
      await client.ask("emit", { event: "local news", args: [client.name] });
      const companion = companions[clients.indexOf(client)];
      await eventually("the local news", () => companion.events("local news").length > 0 || undefined);
    }
    await redis.spawn();
    await cluster.whole();
    await cluster.reached("room", clients);
    for (const client of clients) await client.ask("emit", { rooms: ["room"], event: "after", args: [client.name] });
    await cluster.quiet();
    const expected = clients.map(({ name }) => name).sort();
    for (const client of clients) assert.deepEqual(client.events("after").flat().sort(), expected);
  });

  testOn("a server that is killed during a request holds the others up until the timeout only", ALL, async (cluster) => {
    const [victim, ...rest] = cluster.nodes.toReversed();
    const clients = cluster.clients.filter(({ node }) => node !== victim);
    const lost = cluster.clients.find(({ node }) => node === victim);
    const silent = [lost.name];
    const asked = clients.map((client) => client.ask("ask", { event: "secret", args: [silent], timeout: 2000 }));
    await victim.kill();
    for (const answers of await Promise.all(asked)) {
      assert.deepEqual(answers.sort(), clients.map(({ name }) => name).sort());
    }
    // Those that send heartbeats forget it after some seconds.
    await cluster.whole(clients);
    for (const client of clients) assert.equal((await client.ask("fetch", {})).length, rest.length, client.node.kind);
  });

  testOn("a server that is stopped for a while misses nothing and holds nobody up", ALL, async (cluster) => {
    const [slow] = cluster.nodes;
    const [late, ...clients] = cluster.clients;
    slow.process.kill("SIGSTOP");
    try {
      const answers = clients.map((client) => client.ask("ask", { event: "question", args: [1], timeout: 2000 }));
      for (const got of await Promise.all(answers)) {
        assert.deepEqual(got.map(({ name }) => name).sort(), clients.map(({ name }) => name).sort());
      }
      for (const client of clients) await client.ask("emit", { event: "missed", args: [client.name] });
    } finally {
      slow.process.kill("SIGCONT");
    }
    await eventually("what was sent meanwhile", () => late.events("missed").length >= clients.length || undefined);
    await cluster.whole();
    await cluster.quiet();
    assert.deepEqual(late.events("missed").flat().sort(), clients.map(({ name }) => name).sort());
  });
});
