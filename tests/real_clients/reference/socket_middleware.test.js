// Functions that decide about each event, after the reference's `socket-middleware.ts`.
import assert from "node:assert/strict";
import { ask, testEach } from "./harness.js";

testEach("functions for each packet are called in order, before the handler", async (server) => {
  const client = await server.connect({ namespace: "/packets" });
  const bytes = Buffer.from([1, 2, 3]);
  const answer = new Promise((resolve) => client.emit("wrap", "a", { b: bytes }, 7, (...args) => resolve(args)));
  assert.deepEqual(await answer, ["a", { b: bytes }, 7]);
  const calls = ["namespace wrap", "first with 3 arguments", "second"];
  const own = ["namespace calls", "first with 0 arguments", "second"];
  assert.deepEqual(await ask(client, "calls"), [...calls, ...own]);
});

testEach("an error of one of them is the acknowledgement, and goes to the error handler", async (server) => {
  const client = await server.connect({ namespace: "/packets" });
  const refusal = { message: "Authentication error", data: { a: "b", c: 3 } };
  assert.deepEqual(await client.emitWithAck("join", "woot"), refusal);
  assert.deepEqual(await client.timeout(5000).emitWithAck("join"), refusal);
  client.emit("join", 1, 2);
  const calls = (count) =>
    ["namespace join", `first with ${count} arguments`, "error of join: Authentication error"];
  const own = ["namespace calls", "first with 0 arguments", "second"];
  assert.deepEqual(await ask(client, "calls"), [...calls(1), ...calls(0), ...calls(2), ...own]);
});
