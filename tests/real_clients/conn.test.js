// The connection behind a socket: its facts, its upgrade, and the limits of what a client may send.
import assert from "node:assert/strict";
import { Inbox, TRANSPORTS, ask, testEach } from "./harness.js";

testEach("the server knows the connection behind a socket", {}, async (server, transport) => {
  const client = await server.connect();
  const before = await ask(client, "conn");
  if (transport !== "upgrading") assert.equal(before.transport, transport === "polling" ? "polling" : "websocket");
  else assert.ok(TRANSPORTS.upgrading.includes(before.transport));
  assert.equal(before.roundTrip, null, "no ping was sent");
  await ask(client, "return", "x".repeat(5000));
  const after = await ask(client, "conn");
  for (const way of ["received", "sent"]) {
    const bytes = after[way] - before[way];
    assert.ok(bytes > 5000 && bytes < 6000, `${bytes} bytes ${way}`);
  }
});

testEach("the server measures the round trip of a ping", { "ping-interval": 100 }, async (server) => {
  const client = await server.connect();
  const pings = new Inbox(client.io.engine, "ping");
  // The second ping is sent after the pong of the first.
  await pings.count(2);
  const { roundTrip } = await ask(client, "conn");
  assert.ok(roundTrip >= 0 && roundTrip < 20_000, `${roundTrip} ms`);
});

testEach("the server is told of an upgrade", {}, async (server, transport) => {
  const client = await server.connect();
  const upgraded = `upgraded ${client.id} websocket`;
  if (TRANSPORTS[transport].length > 1) return server.line(new RegExp(`^${upgraded}$`));
  await ask(client, "return");
  assert.ok(!server.lines.includes(upgraded));
});

testEach("a client that sends too many messages is closed, and no other", { burst: 100 }, async (server) => {
  const [client, other] = await Promise.all([server.connect(), server.connect()]);
  const { id } = client;
  for (let sent = 0; sent < 50; sent += 1) client.emit("return", sent);
  assert.equal(await ask(client, "return", "in the limit"), "in the limit");
  const closed = new Inbox(client, "disconnect");
  for (let sent = 0; sent < 100; sent += 1) client.emit("return", sent);
  assert.equal(await server.disconnectReason(id), "transport error");
  await closed.next();
  assert.equal(await ask(other, "return", "unharmed"), "unharmed");
});
