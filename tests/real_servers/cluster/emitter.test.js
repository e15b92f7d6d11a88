// Node's emitter, which sends from a process without a server, into a cluster of servers in Rust and in Node.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { test, within } from "../../real_clients/program.js";
import { Cluster, eventually, skip } from "./harness.js";

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
