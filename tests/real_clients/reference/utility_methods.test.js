// Operations on many sockets at once, after the reference's `utility-methods.ts`.
import assert from "node:assert/strict";
import { ask, crowd, next, testEach } from "./harness.js";

const ROOMS = { a: ["room1", "room2"], b: ["room1"], c: ["room2"] };

/** Returns the rooms of each client. */
async function rooms(...clients) {
  const all = await Promise.all(clients.map((client) => ask(client, "rooms")));
  return all.map((rooms) => rooms.sort());
}

testEach("all sockets, or those in a room, can be listed", async (server) => {
  const { a, b, c } = await crowd(server, ROOMS);
  assert.deepEqual((await ask(a, "members", "/", null)).sort(), [a.id, b.id, c.id].sort());
  assert.deepEqual((await ask(a, "members", "/", "room1")).sort(), [a.id, b.id].sort());
});

testEach("all sockets can join a room at once", async (server) => {
  const { a, b, c } = await crowd(server, { a: [], b: [], c: [] });
  await ask(a, "all join", null, "room1");
  assert.deepEqual(await rooms(a, b, c), [["room1"], ["room1"], ["room1"]]);
});

testEach("the sockets in a room can join another at once", async (server) => {
  const { a, b, c } = await crowd(server, ROOMS);
  await ask(a, "all join", "room1", "room3");
  assert.deepEqual(await rooms(a, b, c), [["room1", "room2", "room3"], ["room1", "room3"], ["room2"]]);
});

testEach("all sockets can leave a room at once", async (server) => {
  const { a, b, c } = await crowd(server, ROOMS);
  await ask(a, "all leave", null, "room1");
  assert.deepEqual(await rooms(a, b, c), [["room2"], [], ["room2"]]);
});

testEach("the sockets in a room can leave another at once", async (server) => {
  const { a, b, c } = await crowd(server, ROOMS);
  await ask(a, "all leave", "room2", "room1");
  assert.deepEqual(await rooms(a, b, c), [["room2"], ["room1"], ["room2"]]);
});

testEach("all sockets can be disconnected at once", async (server) => {
  const { a, b, c } = await crowd(server, ROOMS);
  const ends = [a, b, c].map((client) => next(client, "disconnect"));
  a.emit("all disconnect", null, true);
  for (const [reason] of await Promise.all(ends)) assert.equal(reason, "io server disconnect");
});

testEach("the sockets in a room can be disconnected at once", async (server) => {
  const { a, b, c } = await crowd(server, ROOMS);
  const ends = [a, c].map((client) => next(client, "disconnect"));
  b.emit("all disconnect", "room2", true);
  await Promise.all(ends);
  assert.deepEqual(await ask(b, "members", "/", null), [b.id]);
  assert.equal(b.connected, true);
});
