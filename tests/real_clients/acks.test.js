// Acknowledgements in both directions.
import assert from "node:assert/strict";
import { ask, exchange, next, testEach } from "./harness.js";

testEach("the return value of a handler is the acknowledgement", {}, async (server) => {
  const client = await server.connect();
  assert.equal(await ask(client, "add", 2, 40), 42);
  assert.equal(await ask(client, "return", "👋"), "👋");
  assert.deepEqual(await ask(client, "return", { a: [1, { b: null }] }), { a: [1, { b: null }] });
  assert.equal(await ask(client, "return"), undefined);
});

testEach("the elements of a tuple become the arguments of the acknowledgement", {}, async (server) => {
  const client = await server.connect();
  const args = await new Promise((resolve) => client.emit("divide", 17, 5, (...args) => resolve(args)));
  assert.deepEqual(args, [3, 2]);
  const back = await new Promise((resolve) => client.emit("return", "a", 1, {}, (...args) => resolve(args)));
  assert.deepEqual(back, ["a", 1, {}]);
});

testEach("acknowledgements carry bytes", {}, async (server) => {
  const client = await server.connect();
  const joined = await ask(client, "join bytes", Buffer.from([1, 2]), Buffer.from([3]));
  assert.deepEqual(joined, Buffer.from([1, 2, 3]));
  assert.deepEqual(await ask(client, "join bytes", Buffer.alloc(0), Buffer.alloc(0)), Buffer.alloc(0));
  const nested = { a: [Buffer.from("x"), { b: Buffer.alloc(0) }], c: "d" };
  assert.deepEqual(await ask(client, "return", nested), nested);
});

testEach("a late acknowledgement is overtaken by others", {}, async (server) => {
  const client = await server.connect();
  const order = [];
  const later = ask(client, "later", "slow").then((answer) => order.push(answer));
  await ask(client, "return", "quick").then((answer) => order.push(answer));
  client.emit("release");
  await later;
  assert.deepEqual(order, ["quick", "slow"]);
});

testEach("each of many concurrent acknowledgements reaches its event", {}, async (server) => {
  const client = await server.connect();
  const questions = Array.from({ length: 300 }, (_, n) => n);
  const answers = questions.map((n) => ask(client, n % 2 ? "return" : "later", n));
  client.emit("release");
  assert.deepEqual(await Promise.all(answers), questions);
});

testEach("the error that a handler returns is the acknowledgement", {}, async (server) => {
  const client = await server.connect();
  assert.equal(await ask(client, "half", 8), 4);
  assert.deepEqual(await ask(client, "half", 7), { error: "7 is odd" });
});

testEach("the function for failures acknowledges in place of a handler", {}, async (server) => {
  const client = await server.connect();
  assert.equal(await ask(client, "number", "7"), 7);
  assert.deepEqual(await ask(client, "number", "x"), { failed: "invalid digit found in string" });
  assert.match((await ask(client, "number", 7)).failed, /^the data is not of the expected type/);
});

testEach("an event that the server does not acknowledge times out at the client", {}, async (server) => {
  const client = await server.connect();
  await assert.rejects(client.timeout(50).emitWithAck("never"), { message: "operation has timed out" });
  // Data of the wrong types is not acknowledged either.
  await assert.rejects(client.timeout(50).emitWithAck("add", "two", 40), { message: "operation has timed out" });
  assert.equal(await ask(client, "add", 1, 1), 2);
});

testEach("the server receives the client's acknowledgement", {}, async (server) => {
  const client = await server.connect();
  client.on("question", (a, b, answer) => answer({ got: [a, b] }));
  assert.deepEqual(await exchange(client, "ask", [1, { x: "y" }], "answer"), [{ got: [1, { x: "y" }] }]);
});

testEach("the server receives several arguments and bytes in an acknowledgement", {}, async (server) => {
  const client = await server.connect();
  client.on("question", (...args) => args.pop()(Buffer.from([1, 2, 3]), "three", ...args));
  const answer = await exchange(client, "ask", [Buffer.from([4])], "answer");
  assert.deepEqual(answer, [Buffer.from([1, 2, 3]), "three", Buffer.from([4])]);
});

testEach("bytes in an acknowledgement are read as the type that the server asked for", {}, async (server) => {
  const client = await server.connect();
  client.on("question", (question, answer) => answer(Buffer.from(question), "text"));
  const args = await new Promise((resolve) => client.emit("ask for bytes", (...args) => resolve(args)));
  assert.deepEqual(args, ["text", Buffer.from("bytes?")]);
});

testEach("a missing acknowledgement times out at the server, and a late one is ignored", {}, async (server) => {
  const client = await server.connect();
  let late;
  client.on("question", (answer) => (late = answer));
  assert.deepEqual(await exchange(client, "ask briefly", [], "no answer"), ["operation has timed out"]);
  late("too late");
  late("twice");
  assert.equal(await ask(client, "add", 1, 2), 3);
});

testEach("a pending acknowledgement ends when the client disconnects", {}, async (server) => {
  const client = await server.connect();
  const { id } = client;
  const question = next(client, "question");
  client.emit("ask for a goodbye");
  await question;
  client.disconnect();
  await server.line(new RegExp(`^no answer from ${id}: socket has been disconnected$`));
});
