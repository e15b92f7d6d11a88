// `https` and `wss`, with a custom certificate authority.
import assert from "node:assert/strict";
import { once } from "node:events";
import { testEach } from "./harness.js";

testEach("a server whose authority is trusted is accepted", async (world, way) => {
  const file = await world.serveTls();
  if (way === "websocket") world.scheme = "wss";
  const { client, socket } = await world.connect(["--ca", file("ca.pem")]);
  assert.equal(socket.handshake.secure, true);
  socket.on("length", (text, answer) => answer(text.length));
  client.tell("ask", "/", "length", "x".repeat(300_000));
  assert.equal(await client.answer("length"), 300_000);
  const large = Buffer.alloc(300_000, 7);
  assert.deepEqual(await socket.timeout(5000).emitWithAck("bounce", large), large);
});

testEach("a server of another authority is refused with an error that says so", async (world) => {
  const file = await world.serveTls();
  const asked = once(world.http, "request").then(() => assert.fail("a request was sent"));
  const client = world.client(["--ca", file("other.pem")]);
  const error = /^connect_error \/ \["cannot connect: .*certificate.*UnknownIssuer.*",null\]$/;
  await Promise.race([client.line(error), asked]);
  // The client retries as after any other failure, because the server may get the right certificate.
  await Promise.race([client.line(/^manager ReconnectError\(.*certificate/), asked]);
  assert.equal(world.io.engine.clientsCount, 0);
});
