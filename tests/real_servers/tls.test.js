// `https` and `wss`, with an authority of one's own.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Program } from "../real_clients/program.js";
import { testEach, within } from "./harness.js";

/** A server that an authority has signed; gives how to find the files. */
async function serve(world) {
  const folder = await mkdtemp(path.join(tmpdir(), "sockeye-"));
  world.t.after(() => rm(folder, { recursive: true }));
  const writer = new Program("real_server_client");
  writer.spawn(["certificates", folder]);
  assert.equal((await within(writer.exited, "the certificates"))[0], 0);
  const file = (name) => path.join(folder, name);
  await world.serve({}, undefined, { cert: await readFile(file("cert.pem")), key: await readFile(file("key.pem")) });
  return file;
}

testEach("a server is trusted whose authority is", async (world, way) => {
  const file = await serve(world);
  if (way === "websocket") world.scheme = "wss";
  const { client, socket } = await world.connect(["--ca", file("ca.pem")]);
  assert.equal(socket.handshake.secure, true);
  socket.on("length", (text, answer) => answer(text.length));
  client.tell("ask", "/", "length", "x".repeat(300_000));
  assert.equal(await client.answer("length"), 300_000);
  const large = Buffer.alloc(300_000, 7);
  assert.deepEqual(await socket.timeout(5000).emitWithAck("bounce", large), large);
});

testEach("a server of another authority is refused, and the error says so", async (world) => {
  const file = await serve(world);
  const asked = once(world.http, "request").then(() => assert.fail("a request was sent"));
  const client = world.client(["--ca", file("other.pem")]);
  const error = /^connect_error \/ \["cannot connect: .*certificate.*UnknownIssuer.*",null\]$/;
  await Promise.race([client.line(error), asked]);
  // It comes back, as after any other failure: the server may get the right certificate.
  await Promise.race([client.line(/^manager ReconnectError\(.*certificate/), asked]);
  assert.equal(world.io.engine.clientsCount, 0);
});
