// How connections end, and how clients reconnect.
import assert from "node:assert/strict";
import { Inbox, ask, exchange, flush, next, testEach, testOnce, within } from "./harness.js";

const RECONNECT = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };

testEach("the server sees a client disconnect, with the reason", {}, async (server) => {
  const client = await server.connect();
  const { id } = client;
  const left = next(client, "disconnect");
  client.disconnect();
  assert.equal((await left)[0], "io client disconnect");
  assert.equal(await server.disconnectReason(id), "client namespace disconnect");
});

testEach("events that a client emits before it disconnects are handled", {}, async (server) => {
  const [client, other] = await Promise.all([server.connect(), server.connect()]);
  const told = next(other, "told");
  client.emit("tell others", "farewell");
  client.disconnect();
  assert.deepEqual(await told, ["farewell"]);
});

testEach("the server sees a client close its engine, with the reason", {}, async (server) => {
  const client = await server.connect();
  const { id } = client;
  client.io.engine.close();
  assert.equal(await server.disconnectReason(id), "transport close");
});

testEach("the server disconnects a socket from its namespace only", {}, async (server) => {
  const main = await server.connect(RECONNECT);
  const chat = main.io.socket("/chat");
  await next(chat, "connect");
  const { id } = main;
  const [words, left] = [next(main, "last words"), next(main, "disconnect")];
  main.emit("kick me");
  assert.deepEqual(await words, ["goodbye"]);
  assert.equal((await left)[0], "io server disconnect");
  assert.equal(main.active, false, "it must not connect again by itself");
  assert.equal(await server.disconnectReason(id), "server namespace disconnect");
  assert.equal(await ask(chat, "return", "still here"), "still here");
  main.connect();
  await next(main, "connect");
  assert.equal(await ask(main, "return", "back"), "back");
});

testEach("the server disconnects a client from all of its namespaces", {}, async (server) => {
  const main = await server.connect(RECONNECT);
  const chat = main.io.socket("/chat");
  await next(chat, "connect");
  const ids = [main.id, chat.id];
  const events = [next(main, "last words"), next(main, "disconnect"), next(chat, "disconnect")];
  main.emit("hang up");
  const [words, ...reasons] = await Promise.all(events);
  assert.deepEqual(words, ["goodbye"]);
  assert.deepEqual(reasons.map(([reason]) => reason), ["io server disconnect", "io server disconnect"]);
  assert.deepEqual([main.active, chat.active], [false, false], "they must not connect again by themselves");
  assert.equal(await server.disconnectReason(ids[0], "/"), "server namespace disconnect");
  assert.equal(await server.disconnectReason(ids[1], "/chat"), "server namespace disconnect");
});

testEach("the server disconnects every socket in a room", {}, async (server) => {
  const [a, b, c] = await Promise.all([server.connect(), server.connect(), server.connect()]);
  await Promise.all([ask(a, "join", "out"), ask(b, "join", "out")]);
  const left = [next(a, "disconnect"), next(b, "disconnect")];
  c.emit("kick", "out");
  for (const [reason] of await Promise.all(left)) assert.equal(reason, "io server disconnect");
  assert.equal(await ask(c, "tell all", "only me"), 1);
});

const IMPATIENT = { "ping-interval": 1000, "ping-timeout": 2000 };

testEach("a client reconnects after its connection broke", IMPATIENT, async (server) => {
  const proxy = await server.proxy();
  const client = await server.connect({ ...RECONNECT, url: proxy.url });
  for (let round = 0; round < 3; round += 1) {
    await server.settle(client);
    await flush(client);
    const { id } = client;
    const [left, back] = [next(client, "disconnect"), next(client, "connect")];
    // Between two polls there may be no connection to cut.
    const cutting = setInterval(proxy.cut, 10);
    client.once("disconnect", () => clearInterval(cutting));
    assert.match((await left)[0], /^transport (close|error)$/);
    assert.match(await server.disconnectReason(id), /^(transport close|transport error|ping timeout)$/);
    await back;
    assert.notEqual(client.id, id);
    assert.deepEqual(await exchange(client, "echo", [round]), [round]);
  }
  assert.equal(await ask(client, "tell all", "x"), 1);
});

testEach("a client reconnects to a server that was killed and restarted", {}, async (server) => {
  const client = await server.connect(RECONNECT);
  const [left, back] = [next(client, "disconnect"), next(client, "connect")];
  await server.kill();
  assert.match((await left)[0], /^transport (close|error)$/);
  const kept = ask(client, "return", "from the time between");
  await server.start();
  await back;
  assert.equal(await kept, "from the time between");
});

testEach("a server that closes disconnects every client, then exits", {}, async (server) => {
  const clients = await Promise.all([1, 2, 3, 4].map(() => server.connect()));
  const chat = clients[0].io.socket("/chat");
  await next(chat, "connect");
  const ids = clients.map(({ id }) => id);
  const left = [...clients, chat].map((client) => next(client, "disconnect"));
  assert.equal(await server.close(), 0);
  for (const [reason] of await Promise.all(left)) assert.equal(reason, "transport close");
  for (const id of ids) assert.equal(await server.disconnectReason(id), "server shutting down");
  await server.line(/^closed$/);
});

testOnce("a server without clients closes at once", {}, async (server) => {
  assert.equal(await server.close(), 0);
});

testOnce("messages that were sent before the server closes still arrive", {}, async (server) => {
  const client = await server.connect({ transport: "upgraded" });
  const arrived = new Inbox(client, "one of many", (number, bytes) => [number, bytes.length]);
  client.emit("many", 50, 10_000);
  await arrived.next();
  assert.equal(await server.close(), 0);
  assert.deepEqual(await arrived.count(50), Array.from({ length: 50 }, (_, n) => [n, 10_000]));
});

testEach("a client reconnects to a server that was closed and restarted", {}, async (server) => {
  const client = await server.connect(RECONNECT);
  const back = next(client, "connect");
  assert.equal(await server.close(), 0);
  await server.start();
  await back;
  assert.equal(await ask(client, "return", 1), 1);
});

testEach("many clients come and go without leaving a socket behind", {}, async (server) => {
  for (let round = 0; round < 5; round += 1) {
    const clients = await Promise.all(Array.from({ length: 10 }, () => server.connect()));
    assert.equal(await ask(clients[0], "tell all", "x"), 10);
    const ids = clients.map(({ id }) => id);
    clients.forEach((client) => client.disconnect());
    await Promise.all(ids.map((id) => within(server.disconnectReason(id), "the end of a client")));
  }
});
