// The options of our client, against a server of the reference.
import assert from "node:assert/strict";
import { once } from "node:events";
import { testEach, testOnce, within } from "./harness.js";

/** Returns the transports of the requests that opened a session. */
function openedBy(requests) {
  return requests.filter(({ sid }) => !sid).map(({ transport }) => transport);
}

for (const [offered, refused] of [["polling", "websocket"], ["websocket", "polling"]]) {
  testOnce(`if ${refused} is refused, ${offered} is tried only with try_all_transports`, async (world) => {
    const io = await world.serve({ transports: [offered] });
    const requests = world.requests();
    const transports = ["--transports", `${refused},${offered}`];
    const { socket } = await world.connect([...transports, "--try-all-transports", "true"]);
    assert.equal(socket.conn.transport.name, offered);
    assert.deepEqual(openedBy(requests), [refused, offered]);
    socket.disconnect();

    io.removeAllListeners("connection");
    io.on("connection", () => assert.fail("it connected"));
    const stubborn = world.client(transports);
    await stubborn.line(/^connect_error \/ \["the server answered with status 400: .*Transport unknown.*",null\]$/);
    await stubborn.line(/^manager ReconnectError/);
    await stubborn.kill();
    assert.ok(openedBy(requests).slice(2).every((transport) => transport === refused));
  });
}

for (const remember of [true, false]) {
  const first = remember ? "WebSocket" : "polling";
  testOnce(`after an upgrade, a client with remember_upgrade=${remember} reconnects over ${first}`, async (world) => {
    const io = await world.serve();
    const requests = world.requests();
    const { client, socket } = await world.connect(["--remember-upgrade", String(remember)]);
    assert.deepEqual(openedBy(requests), ["polling"]);
    const again = once(io, "connection");
    socket.conn.close();
    await within(again, "the client to come back");
    await client.line(/^connect \/ /);
    assert.deepEqual(openedBy(requests), ["polling", first.toLowerCase()]);
  }, "upgrade");
}

testEach("with force_base64, binary is sent as text in both directions", async (world, way) => {
  const io = await world.serve();
  const frames = [];
  io.engine.on("connection", (conn) => {
    const watch = ({ name, socket }) => {
      if (name !== "websocket") return;
      socket.on("message", (data, isBinary) => frames.push(isBinary));
      const { send } = socket;
      socket.send = (data, ...rest) => {
        frames.push(typeof data !== "string");
        return send.call(socket, data, ...rest);
      };
    };
    watch(conn.transport);
    conn.on("upgrading", watch);
  });
  const { socket } = await world.connect(["--force-base64", "true"]);
  const args = [Buffer.from([0, 255, 7]), { deep: Buffer.alloc(1000, 200) }];
  const bounced = within(once(socket, "bounced"), "the same again");
  const acknowledged = await new Promise((resolve) => socket.emit("bounce", ...args, (...answer) => resolve(answer)));
  assert.deepEqual([acknowledged, await bounced], [args, args]);
  assert.equal(frames.length > 0, way !== "polling");
  assert.ok(frames.every((isBinary) => !isBinary));
});

testEach("every request carries the query and the headers", async (world) => {
  await world.serve();
  const requests = world.requests();
  const args = ["--query", "who=a b&c=d+e%20é", "--query", "last=", "--extra-header", "X-Who=me, and: you", "--ack-timeout", "100"];
  const { client, socket } = await world.connect(args, "/");
  const { query, headers } = socket.handshake;
  assert.deepEqual([query.who, query.last, headers["x-who"]], ["a b&c=d+e%20é", "", "me, and: you"]);
  assert.deepEqual([query.EIO, query.transport], ["4", world.way === "websocket" ? "websocket" : "polling"]);
  client.tell("ask", "/", "nobody");
  await client.line(/^no answer/);
  for (const { who, last, headers } of requests) {
    assert.deepEqual([who, last, headers["x-who"]], ["a b&c=d+e%20é", "", "me, and: you"]);
  }
});

testEach("the query of the URL comes before the other parameters", async (world) => {
  const io = await world.serve();
  const connected = once(io.of("/chat"), "connection");
  world.client(["--query", "b=2"], "/chat?a=1");
  const [{ handshake }] = await within(connected, "a connection");
  assert.match(handshake.url, /^\/socket\.io\/\?a=1&b=2&EIO=4&/);
});

testEach("a custom path works with and without a trailing slash", async (world) => {
  await world.serve({ path: "/deep/er/io" });
  const { socket } = await world.connect(["--path", "/deep/er/io"]);
  assert.match(socket.handshake.url, /^\/deep\/er\/io\/\?/);
  await world.stop();
  await world.serve({ path: "/io", addTrailingSlash: false });
  const again = await world.connect(["--path", "/io", "--add-trailing-slash", "false"]);
  assert.match(again.socket.handshake.url, /^\/io\?/);
});

testOnce("the first transport of the list opens the session", async (world) => {
  await world.serve();
  const requests = world.requests();
  await world.connect(["--transports", "websocket,polling"]);
  assert.deepEqual(requests.map(({ transport }) => transport), ["websocket"]);
  requests.length = 0;
  await world.connect(["--transports", "polling,websocket"]);
  assert.deepEqual(openedBy(requests), ["polling"]);
  assert.equal(requests.filter(({ transport }) => transport === "websocket").length, 1);
}, "upgrade");

testOnce("with upgrade=false, a client stays with polling", async (world) => {
  await world.serve({ pingInterval: 50 });
  const requests = world.requests();
  const { client, socket } = await world.connect(["--upgrade", "false"]);
  for (let i = 0; i < 4; i++) await client.line(/^manager Ping$/);
  assert.equal(socket.conn.transport.name, "polling");
  assert.ok(requests.length > 4 && requests.every(({ transport }) => transport === "polling"));
});

for (const way of ["websocket", "upgrade"]) {
  for (const [perMessageDeflate, agreed] of [
    [false, false],
    [true, true],
    [{ serverMaxWindowBits: 10 }, true],
    [{ clientMaxWindowBits: 10 }, true],
  ]) {
    const options = JSON.stringify({ perMessageDeflate });
    testOnce(`long messages are ${agreed ? "" : "not "}compressed by a server with ${options} (${way})`, async (world) => {
      await world.serve({ perMessageDeflate });
      const { socket } = await world.connect();
      const { extensions, _socket: stream } = socket.conn.transport.socket;
      assert.equal(extensions, agreed ? "permessage-deflate" : "");
      const { bytesRead, bytesWritten } = stream;
      const long = "and again ".repeat(5000);
      const bounced = within(once(socket, "bounced"), "the same again");
      const answered = within(socket.emitWithAck("bounce", long), "an answer");
      assert.deepEqual([await bounced, await answered], [[long], long]);
      const [read, written] = [stream.bytesRead - bytesRead, stream.bytesWritten - bytesWritten];
      assert.ok(agreed ? read < 2000 && written < 2000 : read > 100_000 && written > 50_000, `${read}, ${written}`);
    }, way);
  }
}
