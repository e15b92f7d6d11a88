// One socket: its events, its handshake and its end, after the reference's `socket.ts`.
import assert from "node:assert/strict";
import { Inbox, ask, flush, next, testEach, testOnce } from "./harness.js";

testEach("a client that connects again by hand connects once", async (server) => {
  const client = await server.connect();
  const connects = new Inbox(client, "connect");
  const { id } = client;
  client.io.engine.close();
  client.connect();
  await connects.next();
  await flush(client);
  assert.equal(connects.all.length, 1);
  assert.notEqual(client.id, id);
});

testOnce("a client gives up once if its server was closed", async (server) => {
  const client = await server.connect({
    reconnection: true,
    reconnectionAttempts: 3,
    reconnectionDelay: 10,
    reconnectionDelayMax: 10,
  });
  const attempts = new Inbox(client.io, "reconnect_attempt");
  const failures = new Inbox(client.io, "reconnect_failed");
  const code = server.close();
  await failures.next();
  assert.equal(await code, 0);
  assert.deepEqual([attempts.all.length, failures.all.length], [3, 1]);
});

testEach("what the client sends without an event's name is a message", async (server) => {
  const client = await server.connect();
  for (const sent of [1337, null, "text"]) {
    assert.equal(await new Promise((resolve) => client.send(sent, resolve)), sent);
  }
});

testEach("events of a connect handler arrive whole and in order", async (server) => {
  const client = server.client({ namespace: "/greeting" });
  const events = new Inbox(client, "message");
  const all = [];
  client.onAny((...args) => all.push(args));
  await events.next();
  const bytes = Buffer.from([1, 2, 3]);
  const hoot = ["hoot", "utf8 — string"];
  const mixed = ["mixed", 1, "2", [3], { deep: [null] }, bytes];
  assert.deepEqual(all, [["woot", "tobi"], hoot, hoot, hoot, ["bytes", bytes], mixed, ["message", "a"]]);
});

testEach("the parameters of the query are known, and are not those of the credentials", async (server) => {
  const client = await server.connect({ query: { key1: 1, key2: "&=ä" } });
  assert.deepEqual(await Promise.all(["key1", "key2", "key3", "EIO"].map((key) => ask(client, "query", key))), [
    "1", "&=ä", null, "4",
  ]);
  const other = client.io.socket("/chat", { auth: { key3: "aa", key2: "&=bb" } });
  assert.deepEqual(await ask(other, "auth"), { key3: "aa", key2: "&=bb" });
  assert.equal(await ask(other, "query", "key3"), null);
  assert.equal(await ask(other, "query", "key2"), "&=ä");
});

for (const way of ["text", "bytes", "broadcast"]) {
  testEach(`of two volatile events in a row, the first is sent (${way})`, async (server) => {
    const client = await server.connect();
    const got = [];
    client.on("volatile", (what) => got.push(Buffer.isBuffer(what) ? what[0] : what));
    let sent;
    // Over polling, the client is not ready until its next poll has arrived.
    do {
      sent = await new Promise((resolve) => client.emit("volatile", way, (...sent) => resolve(sent.flat())));
    } while (!sent[0]);
    assert.deepEqual(sent, [true, false]);
    await flush(client);
    assert.deepEqual(got, [1]);
  });
}

testEach("a volatile event after another is dropped, and later events arrive", async (server) => {
  const client = await server.connect();
  const got = [];
  client.on("volatile", (what) => got.push(what));
  const dropped = await new Promise((resolve) => {
    client.emit("volatile after regular", (...dropped) => resolve(dropped));
  });
  assert.deepEqual(dropped, [true, true]);
  await flush(client);
  assert.deepEqual(got, ["first", "last"]);
});

for (const packet of ["5woooot", "5", '4["handle me please"]']) {
  testEach(`the packet ${packet} of a client closes it, and no other`, async (server) => {
    const [client, other] = await Promise.all([server.connect(), server.connect()]);
    const { id } = client;
    client.io.engine.write(packet);
    assert.equal(await server.disconnectReason(id), "forced close");
    assert.equal(await ask(other, "return", "unharmed"), "unharmed");
  });
}

testEach("a socket that has disconnected joins no room and sends nothing", async (server) => {
  const main = await server.connect();
  const ended = main.io.socket("/ended");
  const late = new Inbox(ended, "too late");
  const [reason] = await next(ended, "disconnect");
  assert.equal(reason, "io server disconnect");
  assert.deepEqual(await ask(main, "members", "/ended", "room"), []);
  await flush(main);
  assert.equal(late.all.length, 0);
});

testEach("a connect handler can disconnect all namespaces of its client", async (server) => {
  const main = await server.connect();
  const chat = main.io.socket("/chat");
  await next(chat, "connect");
  const ends = [main, chat].map((socket) => next(socket, "disconnect"));
  const bar = main.io.socket("/bar");
  ends.push(next(bar, "disconnect"));
  for (const [reason] of await Promise.all(ends)) assert.equal(reason, "io server disconnect");
});

/** Takes the list of the handlers that the server has called so far. */
async function calls(client) {
  const taken = await new Promise((resolve) => client.emit("calls", (...taken) => resolve(taken.flat())));
  return taken.filter((call) => !/ (calls|emit|broadcast|broadcast bytes|off) nothing$/.test(call));
}

testEach("catch-all handlers see every event, the prepended ones first, until they are removed", async (server) => {
  const client = await server.connect({ namespace: "/any" });
  client.emit("event", "123");
  client.emit("without a handler", "456");
  const expected = ["event 123", "without a handler 456"];
  assert.deepEqual(await calls(client), expected.flatMap((what) => [`first ${what}`, `second ${what}`, `any ${what}`]));
  client.emit("off");
  client.emit("event", "789");
  assert.deepEqual(await calls(client), []);
});

testEach("catch-all handlers see what leaves, broadcasts and bytes included, until they are removed", async (server) => {
  const client = await server.connect({ namespace: "/any" });
  for (const [how, what] of [["emit", "one"], ["broadcast", "all"], ["broadcast bytes", "1 bytes"]]) {
    const told = next(client, "told");
    client.emit(how);
    await told;
    const expected = ["first outgoing", "second outgoing", "outgoing"].map((name) => `${name} told ${what}`);
    assert.deepEqual(await calls(client), expected);
  }
  const told = next(client, "told");
  client.emit("off");
  client.emit("emit");
  await told;
  assert.deepEqual(await calls(client), []);
});

testEach("an event with a reserved name is not sent, by neither the socket nor its namespace", async (server) => {
  const client = await server.connect();
  const got = [];
  client.onAny((event) => got.push(event));
  for (const name of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
    const refused = await new Promise((resolve) => client.emit("emit reserved", name, (...args) => resolve(args)));
    assert.deepEqual(refused, [true, true], name);
  }
  await flush(client);
  assert.deepEqual([got, client.connected], [[], true]);
});

testEach("the connection of a socket has a transport, which may be upgraded, and counts its bytes", async (server, way) => {
  const client = await server.connect();
  if (way === "upgraded") await server.line(new RegExp(`^upgraded ${client.id} websocket$`));
  const conn = () => new Promise((resolve) => client.emit("conn", (...args) => resolve(args)));
  const [transport, received, sent] = await conn();
  if (way !== "upgrading") assert.equal(transport, way === "polling" ? "polling" : "websocket");
  await ask(client, "return", "x".repeat(1000));
  const [, receivedLater, sentLater] = await conn();
  assert.ok(receivedLater - received > 1000 && sentLater - sent > 1000, `${[received, receivedLater, sent, sentLater]}`);
});
