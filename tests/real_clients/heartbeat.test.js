// Pings, and clients that are silent.
import assert from "node:assert/strict";
import { Inbox, ask, testEach, testOnce } from "./harness.js";

testEach("a client that answers pings stays connected", { "ping-interval": 100, "ping-timeout": 2000 }, async (server) => {
  const client = await server.connect();
  const { id } = client;
  const pings = new Inbox(client.io.engine, "ping");
  const started = performance.now();
  await pings.count(6);
  assert.ok(performance.now() - started > 400, "pings keep their interval");
  assert.equal(client.id, id);
  assert.equal(await ask(client, "return", "alive"), "alive");
});

testOnce("a client that does not answer a ping is closed", { "ping-interval": 300, "ping-timeout": 1000 }, async (server) => {
  const raw = await server.raw();
  assert.equal(await raw.next(), "2");
  await raw.closed();
  assert.equal(await server.disconnectReason(raw.sid), "ping timeout");
});

testOnce("a client can send until its pong is overdue", { "ping-interval": 50, "ping-timeout": 5000 }, async (server) => {
  const raw = await server.raw();
  assert.equal(await raw.next(), "2");
  raw.send('421["return","x"]');
  assert.equal(await raw.next(), '431["x"]');
  raw.send("3");
  assert.equal(await raw.next(), "2");
});

testOnce("a client that stops polling is closed", { "ping-interval": 300, "ping-timeout": 1000 }, async (server) => {
  const session = await server.handshake();
  const sid = await session.join();
  assert.equal(await server.disconnectReason(sid), "ping timeout");
});

testOnce("a client that does not connect to a namespace is closed", { "connect-timeout": 1000 }, async (server) => {
  const raw = await server.raw({ connect: false });
  const session = await server.handshake();
  assert.equal(await (await session.poll()).text(), "1");
  await raw.closed();
});

testEach("a client that connects in time is not closed later", { "connect-timeout": 1500, "ping-interval": 200 }, async (server) => {
  const client = await server.connect();
  const { id } = client;
  await new Inbox(client.io.engine, "ping").count(8);
  assert.equal(client.id, id);
  assert.ok(client.connected);
});
