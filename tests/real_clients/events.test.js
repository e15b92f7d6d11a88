// Events with text and bytes in both directions.
import assert from "node:assert/strict";
import { Inbox, PARSER, exchange, flush, next, testEach } from "./harness.js";

const bytes = (length, start = 0) => Buffer.from(Array.from({ length }, (_, at) => (at + start) % 256));

const ARGUMENTS = {
  "a string": ["hello"],
  "no argument": [],
  "several arguments": [1, "two", { three: 3 }, [4], null, true],
  "text of all planes": ["Grüße, 你好, 👩‍👩‍👧‍👦, 𝒳, \u0000, \u001e, \u2028, \"quoted\\\""],
  "nested JSON": [{ a: [{ b: { c: [[], {}, [null, -1.5e300, 9007199254740991]] } }], "": { "ключ": "значение" } }],
  "names that are special in JavaScript": [JSON.parse('{"__proto__":{"x":1},"constructor":2,"toString":3}')],
  "text that looks like the protocol": ['51-["a",{"_placeholder":true,"num":0}]', "2probe", "/chat,", '{"_placeholder":true,"num":0}'],
  bytes: [bytes(256)],
  "empty bytes": [Buffer.alloc(0)],
  "bytes deep inside": [{ a: [{ b: bytes(3) }, "x"], c: bytes(1000, 7), d: { e: Buffer.alloc(0) } }, 1, bytes(1)],
  "the maximum number of attachments": [Array.from({ length: 10 }, (_, at) => bytes(at, at))],
};

// JavaScript's MessagePack writes 1e300 as an integer, which it does not fit into, and loses what is named `__proto__`.
if (PARSER) {
  delete ARGUMENTS["nested JSON"];
  delete ARGUMENTS["names that are special in JavaScript"];
}

for (const [name, args] of Object.entries(ARGUMENTS)) {
  testEach(`an event with ${name} comes back as it was sent`, {}, async (server) => {
    const client = await server.connect();
    assert.deepEqual(await exchange(client, "echo", args), args);
  });
}

testEach("a handler without data is called for an event without arguments", {}, async (server) => {
  const client = await server.connect();
  assert.deepEqual(await exchange(client, "nothing", []), []);
});

testEach("bytes inside types of the server arrive in both directions", {}, async (server) => {
  const client = await server.connect();
  const upload = { name: "photo", head: bytes(4), parts: [bytes(10), Buffer.alloc(0), bytes(5, 9)] };
  assert.deepEqual(await exchange(client, "upload", [upload], "uploaded"), [19, upload]);
});

testEach("every kind of view arrives as the bytes that it covers", {}, async (server) => {
  const client = await server.connect();
  const whole = new Uint8Array([1, 2, 3, 4, 5, 6]);
  // JavaScript's MessagePack takes only a `Buffer` and an `ArrayBuffer` for bytes.
  const views = PARSER
    ? [whole.buffer, Buffer.from(whole).subarray(1, 3)]
    : [whole.buffer, whole.subarray(2, 4), new DataView(whole.buffer, 4), Buffer.from(whole).subarray(1, 3)];
  const expected = PARSER
    ? [Buffer.from(whole), Buffer.from([2, 3])]
    : [Buffer.from(whole), Buffer.from([3, 4]), Buffer.from([5, 6]), Buffer.from([2, 3])];
  assert.deepEqual(await exchange(client, "echo", views), expected);
});

testEach("an event without a handler goes to the fallback handler and does no harm", {}, async (server) => {
  const client = await server.connect();
  client.emit("what is this", 1, bytes(2));
  await server.line(new RegExp(`^unknown event what is this of 2 arguments from ${client.id}$`));
  await flush(client);
});

testEach("an event with data of another type is skipped, and the client stays connected", {}, async (server) => {
  const client = await server.connect();
  client.emit("upload", { name: 1 });
  client.emit("binary", "many");
  client.emit("binary");
  assert.deepEqual(await exchange(client, "echo", ["still here"]), ["still here"]);
});

testEach("a burst of a thousand events is echoed whole and in order", {}, async (server) => {
  const client = await server.connect();
  const echoes = new Inbox(client, "echo");
  const sent = Array.from({ length: 1000 }, (_, n) => (n % 10 === 0 ? [n, bytes(n, n), { n }] : [n, `number ${n}`]));
  sent.forEach((args) => client.emit("echo", ...args));
  await echoes.count(1000);
  await flush(client);
  assert.deepEqual(echoes.all, sent);
});

testEach("messages that the server sends during an upgrade arrive once and in order", {}, async (server, transport) => {
  const upgrades = transport.startsWith("upgrad");
  const client = server.client({ namespace: "/numbers", auth: { upgrades, after: 200 } });
  const numbers = new Inbox(client, "number", (number, sentOver, bytes) => ({ number, sentOver, bytes: `${bytes}` }));
  const [total] = await next(client, "total");
  assert.deepEqual(
    numbers.all.map(({ number, bytes }) => [number, bytes]),
    Array.from({ length: total }, (_, n) => [n, n % 3 === 1 ? `${n}` : "undefined"]),
  );
  const used = [...new Set(numbers.all.map(({ sentOver }) => sentOver))];
  assert.deepEqual(used, upgrades ? ["polling", "websocket"] : [transport]);
});

testEach("messages that the client sends during an upgrade arrive once and in order", {}, async (server, transport) => {
  const client = server.client();
  await next(client, "connect");
  const { engine } = client.io;
  const echoes = new Inbox(client, "echo");
  let sent = 0;
  let after = 100;
  while (after > 0) {
    client.emit("echo", sent, sent % 4 === 0 ? bytes(sent % 100) : "text");
    sent += 1;
    if (engine.transport.name === "websocket" || transport === "polling") after -= 1;
    if (sent % 10 === 0) await new Promise(setImmediate);
  }
  await echoes.count(sent);
  await flush(client);
  assert.deepEqual(echoes.all.map(([number]) => number), Array.from({ length: sent }, (_, n) => n));
});
