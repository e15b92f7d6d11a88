// What our client recovers from the server of the reference, and what it sends again.
import assert from "node:assert/strict";
import { once } from "node:events";
import { testEach, within } from "./harness.js";

/** Cuts the connection; `missed` sends what the client has to be told afterwards. */
async function cut(socket, missed) {
  const left = once(socket, "disconnect");
  socket.once("disconnect", missed);
  socket.conn.close();
  await within(left, "the end of the connection");
}

/** Events as the client printed them, in order. */
function events(client) {
  return client.lines.filter((line) => line.startsWith("event ")).map((line) => line.split(" ").slice(2).join(" "));
}

testEach("arguments that are no offsets do not spoil a recovery", async (world) => {
  const io = await world.serve({ connectionStateRecovery: {} });
  const { client, socket } = await world.connect();
  io.emit("text", "before");
  await client.line(/^event \/ text "before"$/);
  socket.volatile.emit("text", "a volatile one");
  socket.volatile.emit("text", "volatile");
  const answer = new Promise((resolve) => socket.timeout(10_000).emit("bounce", "asked", (...args) => resolve(args)));
  assert.deepEqual(await answer, [null, "asked"]);
  const again = within(once(io, "connection"), "the client to come back");
  await cut(socket, () => [1, 2, 3].forEach((number) => io.emit("missed", number)));
  const [{ recovered }] = await again;
  assert.equal(recovered, true);
  await client.line(new RegExp(`^connect / ${socket.id} true$`));
  assert.deepEqual(events(client).filter((event) => event.startsWith("missed")), ["missed 1", "missed 2", "missed 3"]);
});

testEach("all that was missed is recovered, in order, however much it is", async (world) => {
  const count = 6000;
  const io = await world.serve({ connectionStateRecovery: {} });
  let connections = 0;
  io.on("connection", () => connections++);
  const { client, socket } = await world.connect();
  io.emit("text", "before");
  await client.line(/^event \/ text "before"$/);
  await cut(socket, () => {
    for (let i = 0; i < count; i++) io.emit("missed", i, "x".repeat(100));
    io.emit("last");
  });
  await client.line(new RegExp(`^connect / ${socket.id} true$`));
  await client.line(/^event \/ last /);
  const missed = events(client).filter((event) => event.startsWith("missed"));
  assert.deepEqual(missed, Array.from({ length: count }, (_, i) => `missed ${i}`));
  assert.equal(connections, 2);
});

testEach("an event on which the server closes the connection is given up, and the next one is sent", async (world) => {
  const received = [];
  await world.serve({}, (io) => io.on("connection", (socket) => {
    socket.on("deadly", () => received.push("deadly") && socket.conn.close());
    socket.on("next", (answer) => received.push("next") && answer());
  }));
  const { client } = await world.connect(["--retries", "2"]);
  client.tell("emit", "/", "deadly");
  client.tell("emit", "/", "next");
  await client.line(/^fate deadly Err\(not acknowledged after 3 tries\)$/);
  await client.line(/^fate next Ok\(\(\)\)$/);
  assert.deepEqual(received, ["deadly", "deadly", "deadly", "next"]);
});
