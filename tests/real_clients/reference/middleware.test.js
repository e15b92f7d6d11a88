// Middlewares of a namespace, after the reference's `middleware.ts`.
import assert from "node:assert/strict";
import { ask, next, testEach } from "./harness.js";

const TURNS = ["first of /order", "second of /order", "third of /order", "connected"];

testEach("the middlewares of one namespace run in order, and the connect handlers after them", async (server) => {
  const client = server.client({ namespace: "/order" });
  const again = next(client, "connected again");
  assert.deepEqual(await next(client, "connected"), [TURNS]);
  assert.deepEqual(await again, [[...TURNS, "connected again"]]);
});

testEach("a refusal carries message and data, and ends the chain of middlewares", async (server) => {
  const stranger = server.client({ namespace: "/refused" });
  const [error] = await next(stranger, "connect_error");
  assert.ok(error instanceof Error);
  assert.equal(error.message, "Authentication error");
  assert.deepEqual(error.data, { a: "b", c: 3 });
  assert.equal(stranger.connected, false);
  const main = await server.connect();
  assert.deepEqual(await ask(main, "log"), ["middleware of /"]);
});

testEach("a refused socket has left the rooms that a middleware joined", async (server) => {
  const main = await server.connect();
  const stranger = main.io.socket("/refused");
  await next(stranger, "connect_error");
  assert.deepEqual(await ask(main, "members", "/refused", "room"), []);
  assert.deepEqual(await ask(main, "members", "/refused", null), []);
});

testEach("a socket is connected and counted only after the middlewares", async (server) => {
  const client = server.client({ namespace: "/counted" });
  assert.deepEqual(await next(client, "counted"), [[false, 0], [true, 1]]);
});

testEach("a client that left during a middleware is not let in", async (server) => {
  const main = await server.connect();
  const leaver = await server.connect();
  const { id } = leaver;
  leaver.io.socket("/slow").on("connect", () => assert.fail("the middleware has not decided"));
  await server.line(/^a middleware waits$/);
  leaver.io.engine.close();
  await server.disconnectReason(id);
  assert.equal(await ask(main, "release"), 0);
  // The next client takes its turn.
  const other = server.client({ namespace: "/slow" });
  await server.line(/^a middleware waits$/);
  const connected = next(other, "connect");
  await ask(main, "release");
  await connected;
  assert.deepEqual(await ask(main, "members", "/slow", null), [other.id]);
});
