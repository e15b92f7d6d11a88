// What MessagePack can express and JSON cannot: run with `PARSER=msgpack`.
import assert from "node:assert/strict";
import { exchange, next, testEach, testOnce } from "../harness.js";

testEach("dates and undefined arrive as JSON would write them", {}, async (server) => {
  const client = await server.connect();
  const date = new Date(1700000000123);
  const sent = [date, undefined, { a: undefined, b: date, c: [undefined] }, NaN, new Date(-1)];
  const expected = [date.toJSON(), null, { b: date.toJSON(), c: [null] }, null, "1969-12-31T23:59:59.999Z"];
  assert.deepEqual(await exchange(client, "echo", sent), expected);
});

testEach("integers beyond 32 bits and long strings arrive as they were sent", {}, async (server) => {
  const client = await server.connect();
  const sent = [2 ** 53, -(2 ** 53), 2 ** 32, -(2 ** 31), 0.1, -1.5e-300, "é".repeat(40000), Array(70000).fill(7)];
  assert.deepEqual(await exchange(client, "echo", sent), sent);
});

testOnce("a client with the default parser is closed", {}, async (server) => {
  const parser = await import("socket.io-parser");
  const client = server.client({ parser, transport: "websocket" });
  const [reason] = await next(client.io, "close");
  assert.equal(reason, "transport close");
});
