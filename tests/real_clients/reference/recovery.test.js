// Recovery of connections, after `connection-state-recovery.ts` of the reference's server and of its client.
import assert from "node:assert/strict";
import { Inbox, ask, next, testEach, testOnce } from "./harness.js";

const RECOVERY = { recovery: "skip" };
const AGAIN = { namespace: "/recovery", reconnection: true, reconnectionDelay: 10 };

/** Loses the connection, and waits until there is another. */
async function cut(server, client) {
  const connected = next(client, "connect");
  client.io.engine.close();
  await connected;
  await server.settle(client);
}

/** Connects a client that has received an event, which sets its offset. */
async function connect(server) {
  const client = await server.connect(AGAIN);
  assert.equal(client.recovered, false);
  client.emit("hi");
  await next(client, "hi");
  return client;
}

testEach("the id of a recovered socket is the same on both sides", async (server) => {
  const client = await connect(server);
  const { id } = client;
  await cut(server, client);
  assert.equal(client.id, id);
  assert.equal(client.recovered, true);
  const state = await ask(client, "state");
  assert.deepEqual([state.id, state.recovered], [id, true]);
}, RECOVERY);

testEach("rooms, data and missed events are restored, more than once", async (server) => {
  const client = await connect(server);
  for (const room of ["room", "another"]) await ask(client, "join", room);
  await ask(client, "keep", { foo: "bar" });
  const events = [];
  client.on("missed", (...args) => events.push(args.slice(0, -1)));
  const atConnect = [];
  for (const count of [7, 0, 3]) {
    await ask(client, "miss", count);
    client.once("connect", () => atConnect.push(events.length));
    await cut(server, client);
    const state = await ask(client, "state");
    assert.deepEqual(
      [client.recovered, state.recovered, state.rooms, state.data, state.asked],
      [true, true, ["another", "room"], { foo: "bar" }, 1],
    );
    const bytes = Buffer.from("bytes");
    const expected = Array.from({ length: count }, (_, i) => [[i, "to it"], [i, bytes], [i]][i % 3]);
    assert.deepEqual(events.splice(0), expected);
  }
  assert.deepEqual(atConnect, [7, 0, 3], "the events come first");
}, RECOVERY);

testEach("a client that has received no event is recovered", async (server) => {
  const client = await server.connect(AGAIN);
  const missed = new Inbox(client, "missed", (number) => number);
  await ask(client, "miss", 1);
  await cut(server, client);
  assert.equal(client.recovered, true);
  assert.equal(await missed.next(), 0);
}, RECOVERY);

testEach("the middleware is asked about a client that is recovered, if that is wanted", async (server) => {
  const client = await connect(server);
  await cut(server, client);
  assert.equal((await ask(client, "state")).asked, 2);
  assert.equal(client.recovered, true);
}, { recovery: "ask" });

testEach("a client that was disconnected is not recovered", async (server) => {
  const client = await connect(server);
  const { id } = client;
  client.disconnect();
  const connected = next(client, "connect");
  client.connect();
  await connected;
  assert.notEqual(client.id, id);
  assert.equal(client.recovered, false);
}, RECOVERY);

/** Connects to the main namespace over polling with this request, and returns the answer. */
async function answer(server, request) {
  const session = await server.handshake();
  await session.post(request);
  for (;;) {
    const payload = await (await session.poll()).text();
    const packet = payload.split("\x1e").find((packet) => packet.startsWith("40"));
    if (packet) return JSON.parse(packet.slice(2));
  }
}

testOnce("an unknown session is not restored", async (server) => {
  const { sid, pid } = await answer(server, '40{"pid":"foo","offset":"bar"}');
  assert.ok(sid && pid && sid !== "foo" && pid !== "foo");
}, RECOVERY);

testOnce("there is no private id by default", async (server) => {
  for (const request of ["40", '40{"pid":"foo","offset":"bar"}']) {
    assert.deepEqual(Object.keys(await answer(server, request)), ["sid"]);
  }
});
