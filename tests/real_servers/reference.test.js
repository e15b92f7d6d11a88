// Our client against a server of the reference.
import assert from "node:assert/strict";
import { once } from "node:events";
import { testEach, within } from "./harness.js";

testEach("events arrive in order in both directions", async (world) => {
  await world.serve();
  const { client, socket } = await world.connect();
  const received = [];
  const all = new Promise((resolve) => {
    socket.on("number", (...args) => received.push(args) === 200 && resolve());
  });
  for (let i = 0; i < 200; i++) client.tell("emit", "/", "number", i, `${i}é`);
  await within(all, "all events");
  assert.deepEqual(received, Array.from({ length: 200 }, (_, i) => [i, `${i}é`]));
  for (let i = 0; i < 200; i++) socket.emit("number", i);
  for (let i = 0; i < 200; i++) await client.line(new RegExp(`^event / number ${i}$`));
});

testEach("events that are sent during an upgrade arrive once and in order", async (world) => {
  const io = await world.serve();
  const received = [];
  const all = new Promise((resolve) => {
    io.on("connection", (socket) => {
      socket.on("number", (number) => received.push(number) === 100 && resolve());
      for (let i = 0; i < 100; i++) setTimeout(() => socket.emit("number", i), i / 4);
    });
  });
  const client = world.client();
  for (let i = 0; i < 100; i++) client.tell("emit", "/", "number", i);
  await within(all, "all events");
  assert.deepEqual(received, Array.from({ length: 100 }, (_, i) => i));
  for (let i = 0; i < 100; i++) {
    const [, number] = await client.line(/^event \/ number (\d+)$/);
    assert.equal(Number(number), i);
  }
});

testEach("acknowledgements arrive in both directions", async (world) => {
  await world.serve();
  const { client, socket } = await world.connect();
  socket.on("add", (a, b, answer) => answer(a + b));
  client.tell("ask", "/", "add", 2, 3);
  assert.equal(await client.answer("add"), 5);
  const impatient = await world.connect(["--ack-timeout", "100"]);
  impatient.client.tell("ask", "/", "nobody");
  await impatient.client.line(/^no answer nobody operation has timed out$/);
  assert.deepEqual(await socket.timeout(5000).emitWithAck("bounce", { a: [1, null, "x"] }), { a: [1, null, "x"] });
});

testEach("binary arrives in both directions, with and without acknowledgement", async (world) => {
  await world.serve();
  const { socket } = await world.connect();
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 200_000]) {
    const args = [Buffer.alloc(size, 7), { deep: [Buffer.from([0, 255]), "text"] }, Buffer.from("é")];
    const bounced = within(once(socket, "bounced"), "the same again");
    const acknowledged = await new Promise((resolve) => socket.emit("bounce", ...args, (...answer) => resolve(answer)));
    assert.deepEqual(acknowledged, args);
    assert.deepEqual(await bounced, args);
  }
});

testEach("three namespaces share one connection", async (world) => {
  const io = await world.serve({}, (io) => {
    for (const name of ["/", "/a", "/b"]) {
      io.of(name).on("connection", (socket) => socket.on("where", (answer) => answer(name)));
    }
  });
  const { client } = await world.connect();
  for (const name of ["/a", "/b"]) {
    client.tell("connect", name);
    // Waits until the namespace is joined.
    client.tell("ask", name, "where");
    await client.line(new RegExp(`^connect ${name} `));
  }
  client.tell("ask", "/", "where");
  for (let i = 0; i < 3; i++) await client.line(/^answer where "\/[ab]?"$/);
  assert.equal(io.engine.clientsCount, 1);
  const left = within(once([...io.of("/a").sockets.values()][0], "disconnect"), "the end of one");
  client.tell("disconnect", "/a");
  assert.deepEqual((await left)[0], "client namespace disconnect");
  await client.line(/^disconnect \/a io client disconnect$/);
  client.tell("ask", "/b", "where");
  assert.equal(await client.answer("where"), "/b");
});

testEach("events that arrive before the answer to a CONNECT are delivered first", async (world) => {
  await world.serve({}, (io) => {
    io.use((socket, next) => {
      socket.emit("early", 1);
      socket.emit("early", 2);
      next();
    });
  });
  const client = world.client();
  const lines = [];
  for (let i = 0; i < 3; i++) lines.push((await client.line(/^(event|connect) .*$/))[0]);
  assert.deepEqual(lines.slice(0, 2), ["event / early 1", "event / early 2"]);
  assert.match(lines[2], /^connect \/ /);
});

testEach("a refused client gets the reason, does not retry by itself, and can connect with other auth", async (world) => {
  let attempts = 0;
  await world.serve({}, (io) => {
    io.use((socket, next) => {
      attempts++;
      if (socket.handshake.auth.token === "good") return next();
      next(Object.assign(new Error("not you"), { data: { code: 7 } }));
    });
  });
  const client = world.client(["--token", "bad", "--token", "good"]);
  const [, error] = await client.line(/^connect_error \/ (.*)$/);
  assert.deepEqual(JSON.parse(error), ["not you", { code: 7 }]);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(attempts, 1);
  client.tell("connect", "/");
  await client.line(/^connect \/ /);
  client.tell("connect", "/none");
  await client.line(/^connect_error \/none \["Invalid namespace",null\]$/);
  assert.equal(attempts, 2);
});

testEach("events that are emitted offline arrive once and in order after a restart", async (world) => {
  const received = [];
  const prepare = (io) => io.on("connection", (socket) => {
    socket.on("number", (number, answer) => {
      received.push(number);
      answer?.(number);
    });
  });
  await world.serve({}, prepare);
  const { client } = await world.connect();
  client.tell("ask", "/", "number", 0);
  assert.equal(await client.answer("number"), 0);
  await world.stop();
  await client.line(/^disconnect \/ transport (close|error)$/);
  for (let i = 1; i < 50; i++) client.tell("emit", "/", "number", i);
  client.tell("volatile", "/", "number", 1000);
  await client.line(/^error the connection was not ready for a volatile message$/);
  await client.line(/^manager ReconnectError/);
  await world.serve({}, prepare);
  for (let i = 1; i < 50; i++) await client.line(/^fate number Ok\(\(\)\)$/);
  await client.line(/^manager Reconnect\(\d+\)$/);
  client.tell("ask", "/", "number", 50);
  assert.equal(await client.answer("number"), 50);
  assert.deepEqual(received, Array.from({ length: 51 }, (_, i) => i));
});

testEach("a client that the server disconnects does not reconnect by itself", async (world) => {
  const io = await world.serve();
  const { client, socket } = await world.connect();
  socket.disconnect();
  await client.line(/^disconnect \/ io server disconnect$/);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(io.of("/").sockets.size, 0);
  client.tell("connect", "/");
  await client.line(/^connect \/ /);
});

testEach("a message that is larger than the server accepts fails before it is sent", async (world) => {
  await world.serve({ maxHttpBufferSize: 1000 });
  const { client, socket } = await world.connect();
  client.tell("emit", "/", "text", "x".repeat(1000));
  await client.line(/^error the message is larger than the limit of 1000 bytes$/);
  assert.equal(socket.connected, true);
});

testEach("every later request carries the cookie that the server set", async (world, way) => {
  await world.serve({ cookie: true });
  const later = [];
  for (const event of ["request", "upgrade"]) {
    world.http.on(event, ({ url, headers }) => {
      const sid = new URL(url, "http://server").searchParams.get("sid");
      if (sid) later.push([sid, headers.cookie]);
    });
  }
  const { client } = await world.connect();
  client.tell("emit", "/", "text");
  if (way === "websocket") return assert.deepEqual(later, [], "its handshake is the only request");
  assert.ok(later.length > 1);
  for (const [sid, cookie] of later) assert.equal(cookie, `io=${sid}`);
});

testEach("the client answers pings and notices when they stop", async (world) => {
  const io = await world.serve({ pingInterval: 100, pingTimeout: 1000 });
  const { client, socket } = await world.connect();
  for (let i = 0; i < 4; i++) await client.line(/^manager Ping$/);
  assert.equal(socket.connected, true);
  // Stops the server's pings.
  for (const engine of Object.values(io.engine.clients)) {
    clearTimeout(engine.pingIntervalTimer);
    clearTimeout(engine.pingTimeoutTimer);
    engine.sendPacket = () => {};
  }
  await client.line(/^disconnect \/ (ping timeout|transport error)$/);
});

testEach("events are sent again until they are acknowledged", async (world) => {
  const received = [];
  await world.serve({}, (io) => io.on("connection", (socket) => {
    let ignored = 0;
    socket.on("number", (number, answer) => {
      received.push(number);
      if (number === 1 && ignored++ < 2) return;
      answer();
    });
  }));
  const { client } = await world.connect(["--retries", "50", "--ack-timeout", "500"]);
  for (let i = 0; i < 3; i++) client.tell("emit", "/", "number", i);
  for (let i = 0; i < 3; i++) await client.line(/^fate number Ok\(\(\)\)$/);
  // On a busy machine, another answer may come too late as well.
  assert.deepEqual(received.filter((number, i) => number !== received[i - 1]), [0, 1, 2]);
  assert.ok(received.filter((number) => number === 1).length >= 3, `${received}`);
});

testEach("a lost connection is recovered together with the missed events", async (world) => {
  const io = await world.serve({ connectionStateRecovery: {} });
  const { client, socket } = await world.connect();
  const { id } = socket;
  socket.join("room");
  socket.emit("text", "before");
  await client.line(/^event \/ text "before"$/);
  const reconnected = once(io, "connection");
  socket.conn.close();
  await client.line(/^disconnect /);
  io.to("room").emit("text", "missed");
  const [again] = await within(reconnected, "the client to come back");
  assert.deepEqual([again.recovered, again.id], [true, id]);
  await client.line(new RegExp(`^connect / ${id} true$`));
  await client.line(/^event \/ text "missed"$/);
});
