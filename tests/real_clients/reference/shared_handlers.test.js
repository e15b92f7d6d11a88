// Handlers that are registered once for a namespace, its rooms, and data that all may see.
import assert from "node:assert/strict";
import { ask, testEach } from "./harness.js";

const namespace = "/shared";

testEach("a namespace's handlers are those of each of its sockets", async (server) => {
  const [main, a, b] = [await server.connect(), await server.connect({ namespace }), await server.connect({ namespace })];
  await ask(main, "calls");
  assert.equal(await ask(a, "add", 2, 3), 5);
  assert.equal(await ask(b, "add", -2, 3), 1);
  assert.equal(await ask(b, "unknown"), "no handler of unknown");
  assert.deepEqual(await ask(main, "calls"), ["any add", "any add", "any unknown"]);
});

// Unlike in the reference, the rooms of the socket itself are known to the later handlers, too.
testEach("disconnecting comes before the rooms are left, and disconnect after it", async (server) => {
  const main = await server.connect();
  const client = await server.connect({ namespace });
  const { id } = client;
  await ask(client, "join", "room");
  await ask(main, "calls");
  client.disconnect();
  const calls = [];
  while (!calls.some((call) => call.startsWith("disconnect "))) calls.push(...(await ask(main, "calls")));
  assert.deepEqual(calls, [
    "disconnecting room 1 client namespace disconnect",
    `leave ${id} ${id}`, `delete ${id}`,
    `leave room ${id}`, "delete room",
    "disconnect room 0 client namespace disconnect",
  ]);
});

// As the reference's in-memory adapter emits them.
testEach("the events of rooms come in order, and the rooms can be listed", async (server) => {
  const main = await server.connect();
  const a = await server.connect({ namespace });
  assert.deepEqual(await ask(main, "calls"), [`create ${a.id}`, `join ${a.id} ${a.id}`]);
  const b = await server.connect({ namespace });
  await ask(main, "calls");
  await ask(a, "join", "room1");
  await ask(b, "join", "room1");
  await ask(b, "join", "room1");
  await ask(b, "join", "room2");
  assert.deepEqual(await ask(main, "list rooms", namespace), { room1: 2, room2: 1 });
  await ask(a, "leave", "room1");
  await ask(a, "leave", "room2");
  await ask(b, "leave", "room1");
  const calls = await ask(main, "calls");
  assert.deepEqual(calls.filter((call) => !call.startsWith("any")), [
    "create room1", `join room1 ${a.id}`, `join room1 ${b.id}`,
    "create room2", `join room2 ${b.id}`,
    `leave room1 ${a.id}`, `leave room1 ${b.id}`, "delete room1",
  ]);
  assert.deepEqual(await ask(main, "list rooms", namespace), { room2: 1 });
});

testEach("the shared data of each socket can be seen by the others", async (server) => {
  const a = await server.connect({ namespace });
  const b = await server.connect({ namespace });
  const value = { name: "Ann", of: [1, null, "ü"] };
  assert.equal(await ask(a, "share", value), true);
  const all = Object.fromEntries(await ask(b, "all shared"));
  assert.deepEqual(all, { [a.id]: value, [b.id]: null });
  assert.equal(await ask(a, "share", "other"), true);
  assert.equal(Object.fromEntries(await ask(b, "all shared"))[a.id], "other");
  // More than the server stores for a socket: the value before stays.
  assert.equal(await ask(a, "share", "x".repeat(70_000)), false);
  assert.equal(Object.fromEntries(await ask(b, "all shared"))[a.id], "other");
});
