// Clients of Socket.IO 2 (Engine.IO 3) and 3, beside those of 4.
import assert from "node:assert/strict";
import io2 from "socket.io-client-v2";
import { io as io3 } from "socket.io-client-v3";
import { Inbox, TRANSPORTS, next, start, test, within } from "./harness.js";

/** The clients besides the one that the other tests use. */
const CLIENTS = { 2: io2, 3: io3 };

/** Registers a test for each way in which a client of a version can connect. */
function testVersion(version, name, args, run) {
  for (const transport of Object.keys(TRANSPORTS)) {
    test(`${name} (${version}, ${transport})`, async (t) => {
      const server = await start(t, { ...args, eio3: "on" }, transport);
      const connect = async (options) => {
        const client = open(server, version, options);
        await next(client, "connect");
        if (transport === "upgraded" && client.io.engine.transport.name !== "websocket") {
          await next(client.io.engine, "upgrade");
        }
        return client;
      };
      await run(server, connect, transport);
    });
  }
}

/** Creates a client, which connects by itself and is closed when the test ends. */
function open(server, version, { namespace = "/", ...options } = {}) {
  const client = CLIENTS[version](server.url + namespace, {
    transports: TRANSPORTS[server.transport],
    forceNew: true,
    reconnection: false,
    ...options,
  });
  server.t.after(() => client.io.engine?.close());
  return client;
}

/** Emits, and waits for the acknowledgement: these clients know no promises. */
function ask(client, event, ...args) {
  return within(new Promise((resolve) => client.emit(event, ...args, resolve)), `the answer to ${event}`);
}

for (const version of Object.keys(CLIENTS)) {
  testVersion(version, "events, acknowledgements and attachments go both ways", {}, async (server, connect) => {
    const client = await connect();
    const values = ["text €🎉", 1.5, null, { deep: [true, Buffer.from([1, 2, 3])] }, Buffer.alloc(300, 4)];
    const echo = next(client, "echo");
    client.emit("echo", ...values);
    assert.deepEqual(await echo, values);
    assert.deepEqual(await ask(client, "return", values[3]), values[3]);
    assert.deepEqual(await ask(client, "join bytes", Buffer.from("a"), Buffer.from([4])), Buffer.from([97, 4]));
    assert.equal(await ask(client, "add", 40, 2), 42);
    const long = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at));
    assert.deepEqual(await ask(client, "return", long), long);
  });

  testVersion(version, "many events stay in order", {}, async (server, connect) => {
    const client = await connect();
    const got = new Inbox(client, "echo", (number) => number);
    const numbers = Array.from({ length: 500 }, (_, at) => at);
    numbers.forEach((number) => client.emit("echo", number));
    assert.deepEqual(await got.count(500), numbers);
  });

  testVersion(version, "a client shares a room with one of version 4", {}, async (server, connect) => {
    const [old, current] = [await connect(), await server.connect()];
    await ask(old, "join", "room");
    await ask(current, "join", "room");
    const told = [next(old, "told"), next(current, "told")];
    assert.equal(await ask(old, "tell everybody in room", "room", "€🎉"), 2);
    assert.deepEqual(await Promise.all(told), [["€🎉"], ["€🎉"]]);
    const bytes = [next(old, "bytes"), next(current, "bytes")];
    await ask(old, "tell room bytes", "room", 300);
    const [[mine], [other]] = await Promise.all(bytes);
    assert.ok(Buffer.isBuffer(mine) && mine.length === 300 && mine.equals(other));
    // An id of a client names it, whoever says it.
    const direct = next(old, "told");
    assert.equal(await ask(current, "tell others in rooms", [old.id], "to you"), 1);
    assert.deepEqual(await direct, ["to you"]);
  });

  testVersion(version, "a client that leaves is told from one that is gone", {}, async (server, connect) => {
    const client = await connect();
    const { id } = client;
    client.close();
    assert.match(await server.disconnectReason(id), /^(client namespace disconnect|transport close)$/);
    const other = await connect();
    const { id: otherId } = other;
    const gone = next(other, "disconnect");
    other.emit("kick me");
    assert.deepEqual(await gone, ["io server disconnect"]);
    assert.equal(await server.disconnectReason(otherId), "server namespace disconnect");
  });

  testVersion(version, "a client stays as long as it is alive", { "ping-interval": 100, "ping-timeout": 2000 }, async (server, connect) => {
    const client = await connect();
    const { id } = client;
    const beats = new Inbox(client.io.engine, "heartbeat");
    await beats.count(4);
    assert.equal(client.id, id);
    assert.equal(await ask(client, "return", "alive"), "alive");
  });
}

testVersion("2", "the ids of a client are that of its session", {}, async (server, connect) => {
  const client = await connect();
  assert.equal(client.id, client.io.engine.id);
  const chat = client.io.socket("/chat");
  await next(chat, "connect");
  assert.equal(chat.id, `/chat#${client.id}`);
  const other = await server.connect({ namespace: "/chat" });
  const told = next(chat, "told");
  assert.equal(await ask(other, "tell others in rooms", [chat.id], "by name"), 1);
  assert.deepEqual(await told, ["by name"]);
  assert.equal(await ask(other, "tell all but room", chat.id, "others"), 1);
  chat.close();
  assert.equal(await server.disconnectReason(client.id, "/chat"), "client namespace disconnect");
  assert.equal(await ask(client, "return", "still here"), "still here");
  chat.connect();
  await next(chat, "connect");
  assert.equal(await ask(chat, "return", "again"), "again");
});

testVersion("2", "a namespace takes its query as auth", {}, async (server, connect) => {
  const member = await connect({ namespace: "/members", query: { password: "open sesame", name: "Ann" } });
  assert.equal(await ask(member, "return", 1), 1);
  const stranger = open(server, "2", { namespace: "/members", query: { password: "1234" } });
  const [error] = await next(stranger, "error");
  assert.deepEqual(error, { code: 401, got: { password: "1234" } });
  const closed = open(server, "2", { namespace: "/closed" });
  assert.deepEqual(await next(closed, "error"), ["closed today"]);
  const unknown = open(server, "2", { namespace: "/nowhere" });
  assert.deepEqual(await next(unknown, "error"), [{ message: "Invalid namespace" }]);
});

testVersion("2", "base64 is sent to a client that asks for it", {}, async (server, connect) => {
  const client = await connect({ forceBase64: true });
  assert.deepEqual(await ask(client, "return", Buffer.from([4, 0, 255])), Buffer.from([4, 0, 255]));
});

for (const transport of ["polling", "websocket"]) {
  test(`a client of version 2 is refused by default (${transport})`, async (t) => {
    const server = await start(t, {}, transport);
    const client = open(server, "2");
    client.on("connect", () => assert.fail("connected"));
    await next(client, "connect_error");
  });

  test(`a client of version 2 that falls silent is closed (${transport})`, async (t) => {
    const server = await start(t, { eio3: "on", "ping-interval": 300, "ping-timeout": 500 }, transport);
    const client = open(server, "2");
    await next(client, "connect");
    const { id } = client;
    // Neither sends pings nor gives up itself, at the same time as the server.
    const { engine } = client.io;
    clearTimeout(engine.pingIntervalTimer);
    clearTimeout(engine.pingTimeoutTimer);
    engine.removeAllListeners("heartbeat");
    engine.ping = () => {};
    engine.setPing = () => {};
    assert.equal(await server.disconnectReason(id), "ping timeout");
  });
}

test("clients of versions 2, 3 and 4 are told the same at once", async (t) => {
  const server = await start(t, { eio3: "on" });
  const clients = [];
  for (const transport of ["polling", "websocket"]) {
    server.transport = transport;
    clients.push(open(server, "2"), open(server, "3"));
    await Promise.all(clients.slice(-2).map((client) => next(client, "connect")));
    clients.push(await server.connect({ transport }));
  }
  const told = clients.map((client) => next(client, "told"));
  assert.equal(await ask(clients[0], "tell all", { text: "€🎉" }), 6);
  for (const args of await Promise.all(told)) assert.deepEqual(args, [{ text: "€🎉" }]);
});
