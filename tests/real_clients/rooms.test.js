// Rooms and broadcasts.
import assert from "node:assert/strict";
import { ask, flush, next, testEach, testOnce } from "./harness.js";

/** Connects three clients, `a` in red, `b` in red and blue, `c` in blue, and records what each of them is told. */
async function three(server) {
  const [a, b, c] = await Promise.all([1, 2, 3].map(() => server.connect()));
  const joined = [[a, "red"], [b, "red"], [b, "blue"], [c, "blue"]];
  await Promise.all(joined.map(([client, room]) => ask(client, "join", room)));
  const told = [];
  Object.entries({ a, b, c }).forEach(([name, client]) => client.on("told", (text) => told.push(`${name}: ${text}`)));
  const heard = async () => {
    await flush(a, b, c);
    return told.splice(0).sort();
  };
  return { a, b, c, heard };
}

testEach("a message to all reaches every client", {}, async (server) => {
  const { a, heard } = await three(server);
  assert.equal(await ask(a, "tell all", "x"), 3);
  assert.deepEqual(await heard(), ["a: x", "b: x", "c: x"]);
});

testEach("a broadcast reaches every client but its sender", {}, async (server) => {
  const { a, heard } = await three(server);
  assert.equal(await ask(a, "tell others", "x"), 2);
  assert.deepEqual(await heard(), ["b: x", "c: x"]);
});

testEach("a message to a room reaches its members but not its sender", {}, async (server) => {
  const { a, heard } = await three(server);
  assert.equal(await ask(a, "tell others in rooms", ["red"], "x"), 1);
  assert.equal(await ask(a, "tell others in rooms", ["blue"], "y"), 2);
  assert.equal(await ask(a, "tell others in rooms", ["green"], "z"), 0);
  assert.deepEqual(await heard(), ["b: x", "b: y", "c: y"]);
});

testEach("a member of two rooms is told once", {}, async (server) => {
  const { a, heard } = await three(server);
  assert.equal(await ask(a, "tell others in rooms", ["red", "blue", "red"], "x"), 2);
  assert.deepEqual(await heard(), ["b: x", "c: x"]);
});

testEach("a message within a room also reaches its sender", {}, async (server) => {
  const { a, heard } = await three(server);
  assert.equal(await ask(a, "tell everybody in room", "red", "x"), 2);
  assert.deepEqual(await heard(), ["a: x", "b: x"]);
});

testEach("a message can exclude a room", {}, async (server) => {
  const { a, heard } = await three(server);
  assert.equal(await ask(a, "tell others but room", "red", "x"), 1);
  assert.equal(await ask(a, "tell all but room", "blue", "y"), 1);
  assert.deepEqual(await heard(), ["a: y", "c: x"]);
});

testEach("the id of a socket names a room that contains it", {}, async (server) => {
  const { a, b, c, heard } = await three(server);
  assert.equal(await ask(a, "tell others in rooms", [b.id], "x"), 1);
  assert.equal(await ask(a, "tell others in rooms", [b.id, "blue"], "y"), 2);
  assert.equal(await ask(a, "tell all but room", c.id, "z"), 2);
  assert.deepEqual(await heard(), ["a: z", "b: x", "b: y", "b: z", "c: y"]);
});

testEach("a socket that has left a room is not told", {}, async (server) => {
  const { a, b, heard } = await three(server);
  assert.deepEqual((await ask(b, "rooms")).sort(), ["blue", "red"]);
  await ask(b, "leave", "red");
  assert.deepEqual(await ask(b, "rooms"), ["blue"]);
  assert.equal(await ask(a, "tell others in rooms", ["red"], "x"), 0);
  assert.deepEqual(await heard(), []);
});

testEach("a socket that has disconnected is in no room", {}, async (server) => {
  const { a, b, c } = await three(server);
  const { id } = b;
  b.disconnect();
  await server.disconnectReason(id);
  assert.equal(await ask(a, "tell others in rooms", ["red", "blue", id], "x"), 1);
  b.connect();
  await next(b, "connect");
  assert.deepEqual(await ask(b, "rooms"), []);
  await flush(c);
});

testEach("bytes are broadcast whole", {}, async (server) => {
  const { a, b, c, heard } = await three(server);
  const got = [a, b, c].map((client) => next(client, "bytes"));
  assert.equal(await ask(a, "tell room bytes", "red", 5000), 5);
  for (const args of await Promise.all(got)) assert.deepEqual(args, [Buffer.alloc(5000, 1), 5000]);
  assert.deepEqual(await heard(), ["a: 5000", "b: 5000"]);
});

testEach("a broadcast collects every client's acknowledgement", {}, async (server) => {
  const { a, b, c } = await three(server);
  const clients = { a, b, c };
  for (const [name, client] of Object.entries(clients)) {
    client.on("question", (question, answer) => answer(`${question} ${name}`));
  }
  const answers = await ask(a, "ask all", "who?", 5000);
  const expected = Object.entries(clients).map(([name, client]) => [client.id, `who? ${name}`]);
  assert.deepEqual(new Map(answers.map(({ id, answer }) => [id, answer])), new Map(expected));
});

// The timeout has to be long enough for the answers that do come, so the test runs only once.
testOnce("a broadcast times out on missing acknowledgements and keeps the others", {}, async (server) => {
  const { a, b, c } = await three(server);
  a.on("question", (question, answer) => answer("yes"));
  b.on("question", () => {});
  c.on("question", (question, answer) => answer("no"));
  const answers = await ask(a, "ask all", "?", 2000);
  const byId = new Map(answers.map(({ id, ...answer }) => [id, answer]));
  assert.deepEqual(byId.get(a.id), { answer: "yes" });
  assert.deepEqual(byId.get(b.id), { error: "operation has timed out" });
  assert.deepEqual(byId.get(c.id), { answer: "no" });
});

testEach("a broadcast does not wait for clients that have disconnected", {}, async (server) => {
  const { a, b, c } = await three(server);
  a.on("question", (question, answer) => answer("yes"));
  b.on("question", () => b.disconnect());
  c.on("question", () => c.io.engine.close());
  const { id: gone } = b;
  const answers = await ask(a, "ask all", "?", 60_000);
  const byId = new Map(answers.map(({ id, ...answer }) => [id, answer]));
  assert.equal(byId.size, 3);
  assert.deepEqual(byId.get(a.id), { answer: "yes" });
  assert.deepEqual(byId.get(gone), { error: "socket has been disconnected" });
});

testEach("volatile messages that the client is not ready for are dropped whole", {}, async (server) => {
  const client = await server.connect();
  const got = [];
  client.on("volatile", (text) => got.push(text.length));
  const sent = await ask(client, "volatile", 1000);
  await flush(client);
  assert.ok(sent < 1000);
  assert.deepEqual(got, Array(sent).fill(10_000));
});

testEach("a volatile message reaches a client that is ready for it", {}, async (server) => {
  const client = await server.connect();
  const got = next(client, "volatile");
  // Over polling, the client is not ready until its next poll has arrived.
  while ((await ask(client, "volatile", 1)) === 0);
  assert.equal((await got)[0].length, 10_000);
});
