// Emitters, Node's and ours, which send from a process without a server into a cluster of servers in Rust and in Node.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { Program, test, within } from "../../real_clients/program.js";
import { Cluster, DIALECTS, eventually, skip } from "./harness.js";

describe("the emitter of Node", { skip, concurrency: 1 }, () => {
  let cluster, clients, client, emitter;

  before(async () => {
    cluster = await Cluster.start("classic");
    clients = cluster.clients;
    await cluster.join("even", clients.filter((_, i) => i % 2 === 0));
    client = await createClient({ url: cluster.redis.url }).connect();
    emitter = new Emitter(client);
  });
  after(async () => {
    await client?.disconnect();
    await cluster?.end();
  });

  test("events arrive at all clients, or at those in rooms, with binary data", async () => {
    const binary = Buffer.from([0, 255]);
    emitter.emit("to all", 1, { two: [binary] });
    emitter.to("even").emit("to even", "x");
    emitter.except("even").emit("but even");
    emitter.emit("last");
    await eventually("the last event", () => clients.every((it) => it.events("last").length === 1) || undefined);
    clients.forEach((it, i) => {
      assert.deepEqual(it.events("to all"), [[1, { two: [binary] }]]);
      assert.deepEqual(it.events("to even"), i % 2 === 0 ? [["x"]] : []);
      assert.deepEqual(it.events("but even"), i % 2 === 0 ? [] : [[]]);
    });
  });

  test("sockets join and leave rooms, and are disconnected", async () => {
    const rooms = (expected) => Promise.all(clients.map((it) => eventually("the rooms", async () => {
      assert.equal((await it.ask("rooms")).includes("new"), expected);
      return true;
    })));
    emitter.socketsJoin("new");
    await rooms(true);
    emitter.in("new").socketsLeave("new");
    await rooms(false);
    const victims = await Promise.all(cluster.nodes.map((node, i) => cluster.connect(node, `victim ${i}`)));
    await cluster.join("victims", victims);
    emitter.in("victims").disconnectSockets(true);
    for (const victim of victims) await within(victim.left, `${victim.node.kind} to disconnect`);
  });
});

describe("our emitter", { skip, concurrency: 1 }, () => {
  for (const dialect of ["classic", "sharded", "streams"]) {
    test(`what it sends arrives at the clients of all servers (${dialect})`, async () => {
      const cluster = await Cluster.start(dialect);
      try {
        const even = cluster.clients;
        const odd = await Promise.all(cluster.nodes.map((node, i) => cluster.connect(node, `odd ${i}`)));
        await cluster.join("even");
        await cluster.join("odd", odd);
        const emitter = new Program("cluster_emitter");
        emitter.spawn(DIALECTS[dialect], { ...process.env, REDIS: cluster.redis.url });
        assert.equal((await within(emitter.exited, "the emitter"))[0], 0);
        await Promise.all(odd.map(({ left, node }) => within(left, `${node.kind} to disconnect`)));
        for (const client of even) {
          await eventually("the new room", async () => (await client.ask("rooms")).includes("new") || undefined);
        }
        for (const client of [...even, ...odd]) {
          const isEven = even.includes(client);
          assert.deepEqual(client.events("to all"), [[1, "two", Buffer.from([0, 255])]]);
          assert.deepEqual(client.events("to even"), isEven ? [["x"]] : []);
          assert.deepEqual(client.events("but even"), isEven ? [] : [[]]);
        }
      } finally {
        await cluster.end();
      }
    });
  }
});
