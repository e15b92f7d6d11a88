// How our client leaves the namespaces of the reference's server, and joins them again.
import assert from "node:assert/strict";
import { once } from "node:events";
import { testEach, within } from "./harness.js";

testEach("the server is told why a client leaves, after all that it sent", async (world) => {
  const io = await world.serve();
  const rounds = 20;
  let { client, socket } = await world.connect();
  for (let round = 0; round < rounds; round++) {
    const received = [];
    socket.on("number", (number) => received.push(number));
    const left = within(once(socket, "disconnect"), "the client to leave");
    for (let i = 0; i < 20; i++) client.tell("emit", "/", "number", i);
    client.tell("disconnect", "/");
    assert.deepEqual((await left)[0], "client namespace disconnect");
    assert.deepEqual(received, Array.from({ length: 20 }, (_, i) => i));
    if (round === rounds - 1) return;
    const connected = within(once(io, "connection"), "the client to come back");
    client.tell("connect", "/");
    [socket] = await connected;
    await client.line(new RegExp(`^connect / ${socket.id} `));
  }
});

testEach("a namespace that is left and joined again at once does not hurt the others", async (world, way) => {
  const io = await world.serve({}, (io) => {
    io.of("/a").use((socket, next) => {
      socket.emit("early", socket.id);
      next();
    });
  });
  const { client, socket } = await world.connect();
  let joined = within(once(io.of("/a"), "connection"), "the namespace to be joined");
  client.tell("connect", "/a");
  for (let round = 0; round < 20; round++) {
    const [inner] = await joined;
    await client.line(new RegExp(`^connect /a ${inner.id} `));
    if (round === 0 || way === "websocket") await client.line(new RegExp(`^event /a early "${inner.id}"$`));
    const left = within(once(inner, "disconnect"), "the namespace to be left");
    joined = within(once(io.of("/a"), "connection"), "the namespace to be joined again");
    client.tell("rejoin", "/a");
    assert.deepEqual((await left)[0], "client namespace disconnect");
  }
  await joined;
  assert.equal(socket.connected, true);
  assert.deepEqual(client.lines.filter((line) => line.startsWith("disconnect / ")), []);
});
