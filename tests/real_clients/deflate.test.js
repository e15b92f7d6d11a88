// Compressed messages in both directions (permessage-deflate).
import assert from "node:assert/strict";
import { WebSocket } from "ws";
import { Inbox, ask, exchange, flush, next, testEach, testOnce } from "./harness.js";

const COMPRESSED = { perMessageDeflate: { threshold: 0 } };
const long = (length) => Array.from({ length: length / 10 }, (_, n) => `${n} again `).join("").slice(0, length);

/** Returns the WebSocket of a client, if it has one already. */
const socketOf = (client) => client.io.engine.transport.ws;

testEach("text and bytes of any size come back", { deflate: 0 }, async (server, transport) => {
  const client = await server.connect(COMPRESSED);
  for (const length of [0, 1, 10, 1000, 1024, 100_000, 700_000]) {
    const args = [long(length), { bytes: Buffer.from(long(length)) }, Buffer.alloc(length)];
    for (const arg of args) assert.deepEqual(await exchange(client, "echo", [arg]), [arg]);
  }
  if (transport !== "polling") assert.equal(socketOf(client).extensions, "permessage-deflate");
});

testEach("many concurrent messages come back in order", { deflate: 100 }, async (server) => {
  const client = await server.connect(COMPRESSED);
  const sent = Array.from({ length: 200 }, (_, n) => [n, long(10 * n), Buffer.from(long(7 * n))]);
  const echoes = new Inbox(client, "echo");
  sent.forEach((args) => client.emit("echo", ...args));
  await echoes.count(200);
  assert.deepEqual(echoes.all, sent);
});

testEach("a broadcast reaches clients with and without compression", { deflate: 1024 }, async (server) => {
  const options = [COMPRESSED, { perMessageDeflate: false }, COMPRESSED, {}];
  const clients = await Promise.all(options.map((option) => server.connect(option)));
  for (const text of ["short", long(5000)]) {
    const got = clients.map((client) => next(client, "told"));
    clients[0].emit("tell all", text);
    assert.deepEqual(await Promise.all(got), clients.map(() => [text]));
  }
});

/** Returns the number of bytes on the wire for the echo of a text of 100,000 bytes. */
async function echoed(client, event) {
  await flush(client);
  const before = socketOf(client)._socket.bytesRead;
  const [text] = await exchange(client, event, [long(100_000)], "echo");
  assert.equal(text.length, 100_000);
  return socketOf(client)._socket.bytesRead - before;
}

testOnce("compressed messages of the server are short on the wire", { deflate: 1024 }, async (server) => {
  const connect = (options) => server.connect({ transport: "websocket", ...options });
  assert.ok((await echoed(await connect(COMPRESSED), "echo")) < 40_000);
  assert.ok((await echoed(await connect({ perMessageDeflate: false }), "echo")) > 100_000);
});

for (const transport of ["websocket", "upgraded"]) {
  testOnce(`a single message can be sent without compression (${transport})`, { deflate: 1024 }, async (server) => {
    const client = await server.connect({ transport, ...COMPRESSED });
    const sizes = [];
    for (const event of ["echo", "echo uncompressed", "echo"]) sizes.push(await echoed(client, event));
    assert.deepEqual(sizes.map((size) => size > 100_000), [false, true, false]);
  });
}

testOnce("a broadcast can be sent without compression", { deflate: 1024 }, async (server) => {
  const client = await server.connect({ transport: "websocket", ...COMPRESSED });
  const sizes = [];
  for (const event of ["echo", "echo to all uncompressed", "echo"]) sizes.push(await echoed(client, event));
  assert.deepEqual(sizes.map((size) => size > 100_000), [false, true, false]);
});

testOnce("without the option compression is not negotiated", {}, async (server) => {
  const client = await server.connect({ transport: "websocket", ...COMPRESSED });
  assert.equal(socketOf(client).extensions, "");
  assert.equal(await ask(client, "return", long(5000)), long(5000));
});

for (const [name, options] of Object.entries({
  "small windows": { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  "whole windows": { serverMaxWindowBits: 15, clientMaxWindowBits: 15 },
  "no context": { serverNoContextTakeover: true, clientNoContextTakeover: true },
})) {
  testOnce(`a client that asks for ${name} gets them`, { deflate: 0 }, async (server, t) => {
    const url = `ws://127.0.0.1:${server.port}/socket.io/?EIO=4&transport=websocket`;
    const socket = new WebSocket(url, { perMessageDeflate: { threshold: 0, ...options } });
    t.after(() => socket.terminate());
    const messages = new Inbox(socket, "message", (data) => data.toString());
    assert.match(await messages.next(), /^0/);
    assert.equal(socket.extensions, "permessage-deflate");
    socket.send("40");
    assert.match(await messages.next(), /^40/);
    for (let n = 0; n < 10; n++) {
      socket.send(`42["echo","${long(3000)}"]`);
      assert.equal(await messages.next(), `42["echo","${long(3000)}"]`);
    }
  });
}

testOnce("a message that inflates beyond the limit is refused", { deflate: 0, "max-payload": 100_000 }, async (server) => {
  const [client, other] = [await server.connect({ transport: "websocket", ...COMPRESSED }), await server.connect()];
  const { id } = client;
  const left = next(client, "disconnect");
  client.emit("echo", "x".repeat(10_000_000));
  const [, details] = await left;
  assert.equal(details.context.code, 1009);
  assert.equal(await server.disconnectReason(id), "transport error");
  assert.equal(await ask(other, "return", "unharmed"), "unharmed");
});
