// Clients that lose their connection to one server of a cluster, in Rust or in Node, and come back to another one.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe } from "node:test";
import { createClient } from "redis";
import { test, within } from "../../real_clients/program.js";
import { Client, Cluster, eventually, skip } from "./harness.js";

const BINARY = Buffer.from([0, 1, 254, 255]);
/** The events of a test without their offsets. */
const news = (client) => client.received.filter(([event]) => event.startsWith("news")).map((event) => event.slice(0, -1));

/** Waits until the server that a client has lost keeps its socket at Redis. */
async function kept(cluster, client) {
  const redis = await createClient({ url: cluster.redis.url }).connect();
  try {
    const key = `sio:session:${client.socket._pid}`;
    await eventually(`${client.name} to be kept`, async () => (await redis.exists(key)) || undefined);
  } finally {
    redis.destroy();
  }
}

/** Cuts the connection of a client. It comes back to `node`, and not before `meanwhile` is over. */
async function move(cluster, client, node, meanwhile) {
  const { io } = client.socket;
  io.reconnection(false);
  io.engine.close();
  await within(client.left, "the end of the connection");
  await meanwhile();
  // A client that is faster than the end of its connection, or than what was sent, begins anew.
  await kept(cluster, client);
  await cluster.quiet(cluster.clients, cluster.clients, ["all"]);
  io.uri = `http://127.0.0.1:${node.port}`;
  client.node = node;
  client.left = new Promise((resolve) => client.socket.once("disconnect", resolve));
  const connected = once(client.socket, "connect");
  client.socket.connect();
  await within(connected, `a connection to ${node.kind}`);
}

describe("recovery over streams", { skip, concurrency: 1 }, () => {
  let cluster, clients;

  before(async () => {
    cluster = await Cluster.start("streams", { args: ["--recovery", "on"] });
    clients = cluster.clients;
    await cluster.join("all");
  });
  after(() => cluster?.end());

  test("a client gets from each server what it missed at each other one, and is the same socket", async () => {
    for (const from of cluster.nodes) {
      for (const to of cluster.nodes) {
        const client = await cluster.connect(from, `${from.kind} to ${to.kind}`);
        await client.ask("join", "room");
        await clients[0].ask("emit", { rooms: [client.socket.id], event: "news", args: ["before"] });
        await eventually("the first event", () => news(client).length > 0 || undefined);
        const { id } = client.socket;
        const expected = [["news", "before"]];
        await move(cluster, client, to, async () => {
          for (const sender of clients) {
            const send = (args, rooms, except) => sender.ask("emit", { rooms, except, event: "news", args });
            await send([sender.name, "room", BINARY], ["room"]);
            await send([sender.name, "nobody"], ["nobody"]);
            await send([sender.name, "others"], ["all"], ["room"]);
            await send([sender.name, "own"], [id]);
            expected.push(["news", sender.name, "room", BINARY], ["news", sender.name, "own"]);
          }
        });
        assert.equal(client.socket.recovered, true, client.name);
        assert.equal(client.socket.id, id, client.name);
        assert.deepEqual(await client.ask("rooms"), ["room"], client.name);
        // Recovered once more, without and with traffic, at the server that it came from.
        await move(cluster, client, from, async () => {});
        assert.equal(client.socket.recovered, true, `${client.name} and back`);
        await move(cluster, client, to, () => clients[0].ask("emit", { rooms: ["room"], event: "news", args: ["last"] }));
        assert.equal(client.socket.recovered, true, `${client.name} and back again`);
        expected.push(["news", "last"]);
        // Those of one sender are in order, and the stream decides about those of several.
        const bySender = (list) => list.toSorted(([, a], [, b]) => (a < b ? -1 : a > b ? 1 : 0));
        assert.deepEqual(bySender(news(client)), bySender(expected), client.name);
        const found = await clients[0].ask("fetch", { rooms: ["room"] });
        assert.deepEqual(found.map(({ id, data }) => [id, data.name]), [[id, client.name]], client.name);
        client.socket.disconnect();
      }
    }
  });

  test("a client that has the offset of an event that no server knows begins anew", async () => {
    for (const node of cluster.nodes) {
      const client = await cluster.connect(node, `forger at ${node.kind}`);
      const { id } = client.socket;
      await clients[0].ask("emit", { rooms: [id], event: "news", args: [1] });
      await eventually("the event", () => news(client).length > 0 || undefined);
      client.socket._lastOffset = "1-1";
      await move(cluster, client, node, async () => {});
      // Ours knows from the session what the client has certainly received.
      assert.equal(client.socket.recovered, node.kind !== "node", node.kind);
      client.socket.disconnect();
    }
  });
});
