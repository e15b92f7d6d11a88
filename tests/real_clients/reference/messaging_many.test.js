// Broadcasts and rooms, after the reference's `messaging-many.ts`.
import assert from "node:assert/strict";
import { ask, crowd, testEach } from "./harness.js";

testEach("a namespace's broadcast reaches all of its clients and no other namespace", async (server) => {
  const { a, heard } = await crowd(server, { a: [], b: [], c: [] }, { c: "/chat" });
  assert.equal(await ask(a, "broadcast", { from: "server" }), 2);
  assert.deepEqual(await heard(), ["a: text", "b: text"]);
});

testEach("a namespace's broadcast of bytes reaches all of its clients and no other namespace", async (server) => {
  const { a, heard } = await crowd(server, { a: [], b: [], c: [] }, { c: "/chat" });
  assert.equal(await ask(a, "broadcast", { from: "server", bytes: true }), 2);
  assert.deepEqual(await heard(), ["a: 010203", "b: 010203"]);
});

testEach("bytes are broadcast to a room without their sender", async (server) => {
  const { a, heard } = await crowd(server, { a: ["woot"], b: ["woot"], c: [] });
  assert.equal(await ask(a, "broadcast", { from: "socket", to: ["woot"], bytes: true }), 1);
  assert.deepEqual(await heard(), ["b: 010203"]);
});

testEach("a socket's broadcast can exclude several other sockets", async (server) => {
  const { a, b, c, heard } = await crowd(server, { a: [], b: [], c: [], d: [] });
  assert.equal(await ask(a, "broadcast", { from: "socket", except: [b.id, c.id] }), 1);
  assert.deepEqual(await heard(), ["d: text"]);
});

testEach("a socket knows its rooms at any time", async (server) => {
  const { a } = await crowd(server, { a: [] });
  assert.deepEqual((await ask(a, "join", ["a"])).sort(), ["a"]);
  assert.deepEqual((await ask(a, "join", ["b", "c"])).sort(), ["a", "b", "c"]);
  assert.deepEqual((await ask(a, "leave", "b")).sort(), ["a", "c"]);
  assert.deepEqual((await ask(a, "leave", "unknown")).sort(), ["a", "c"]);
  assert.deepEqual(await ask(a, "leave", "a"), ["c"]);
  assert.deepEqual(await ask(a, "leave", "c"), []);
});

testEach("a room has no member once the last has left", async (server) => {
  const { a } = await crowd(server, { a: ["room"] });
  assert.deepEqual(await ask(a, "members", "/", "room"), [a.id]);
  await ask(a, "leave", "room");
  assert.deepEqual(await ask(a, "members", "/", "room"), []);
});

testEach("a copy of a broadcast can be changed without the original", async (server) => {
  const { a, heard } = await crowd(server, { a: ["a"], b: ["a", "b"], c: ["c"], d: ["c", "d"] });
  assert.deepEqual(await new Promise((resolve) => a.emit("operator", (...counts) => resolve(counts))), [1, 2, 1]);
  assert.deepEqual(await heard(), ["a: a"]);
});

testEach("a broadcast that nobody gets is answered at once", async (server) => {
  const client = await server.connect();
  assert.deepEqual(await new Promise((resolve) => client.emit("ask nobody", (...args) => resolve(args))), [true, 0]);
});
