// Messages that are too large, and clients that break the protocol: only those clients are closed.
import assert from "node:assert/strict";
import { Inbox, ask, exchange, flush, next, start, test, testEach, testOnce } from "./harness.js";

/** The largest binary messages, in bytes; over polling they are sent as base64. */
const LARGE = { polling: 740_000, websocket: 999_000, upgraded: 999_000, upgrading: 740_000 };

testEach("text of almost a megabyte passes in both directions", {}, async (server) => {
  const client = await server.connect();
  const text = "0123456789".repeat(99_900);
  const [back] = await exchange(client, "echo", [text]);
  assert.ok(back === text);
});

testEach("bytes of almost a megabyte pass in both directions", {}, async (server, transport) => {
  const client = await server.connect();
  const bytes = Buffer.alloc(LARGE[transport], "0123456789");
  const [back] = await exchange(client, "echo", [bytes]);
  assert.ok(bytes.equals(back));
});

testEach("many large messages pass at once", {}, async (server) => {
  const client = await server.connect();
  const texts = Array.from({ length: 10 }, (_, n) => `${n}`.repeat(200_000));
  const answers = await Promise.all(texts.map((text) => ask(client, "return", text)));
  assert.ok(answers.every((answer, n) => answer === texts[n]));
});

testEach("the server can send more than it accepts", { "max-payload": 10_000 }, async (server) => {
  const client = await server.connect();
  const [bytes] = await exchange(client, "binary", [1_000_000]);
  assert.ok(bytes.equals(Buffer.alloc(1_000_000, 7)));
});

for (const [what, message] of [["text", "x".repeat(20_000)], ["bytes", Buffer.alloc(20_000)]]) {
  testEach(`a client that sends too much ${what} is closed, and no other`, { "max-payload": 10_000 }, async (server, transport) => {
    const [client, other] = await Promise.all([server.connect(), server.connect()]);
    const { id } = client;
    const left = next(client, "disconnect");
    client.emit("echo", message);
    const [reason, details] = await left;
    // Over polling the request is refused and the poll ends; the client may see either first.
    assert.match(reason, /^transport (close|error)$/);
    if (transport === "websocket" || transport === "upgraded") assert.equal(details.context.code, 1009);
    assert.equal(await server.disconnectReason(id), "transport error");
    assert.equal(await ask(other, "return", "unharmed"), "unharmed");
  });
}

testOnce("a request that is too large is refused and ends its session", { "max-payload": 10_000 }, async (server) => {
  const session = await server.handshake();
  const sid = await session.join();
  assert.equal((await session.post(`4${"x".repeat(10_000)}`)).status, 413);
  assert.equal(await server.disconnectReason(sid), "transport error");
  const after = await session.poll();
  assert.deepEqual([after.status, await after.json()], [400, { code: 1, message: "Session ID unknown" }]);
});

testEach("a client that was closed for too large a message can reconnect", { "max-payload": 10_000 }, async (server) => {
  const client = await server.connect({ reconnection: true, reconnectionDelay: 20 });
  const back = next(client, "connect");
  client.emit("echo", "x".repeat(20_000));
  await next(client, "disconnect");
  await back;
  assert.equal(await ask(client, "return", "smaller"), "smaller");
});

/** Lists of messages that a connected client must not send. */
const MALFORMED = {
  "JSON that does not end": ['42["echo"'],
  "JSON with trailing text": ['42["echo"]x'],
  "an event that is not an array": ['42{"echo":1}'],
  "an event without data": ["42"],
  "an event without a name": ["42[]"],
  "an event whose name is an object": ['42[{"toString":"echo"}]'],
  "a reserved event": ['42["disconnect"]'],
  "a packet of an unknown type": ["49"],
  "an empty packet": ["4"],
  "an engine packet of an unknown type": ["9"],
  "an empty message": [""],
  "a ping": ["2"],
  "a second connect": ["40"],
  "a connect error": ['44{"message":"?"}'],
  "an event for a namespace that it has not joined": ['42/chat,["echo"]'],
  "an acknowledgement without an id": ['43["a"]'],
  "an acknowledgement id that is too large": ['42999999999999999999["echo"]'],
  "bytes that were not announced": [Buffer.from([1, 2, 3])],
  "text in place of announced bytes": ['451-["echo",{"_placeholder":true,"num":0}]', '42["echo"]'],
  "a placeholder for a missing attachment": ['451-["echo",{"_placeholder":true,"num":5}]', Buffer.from([1])],
  "a placeholder whose number is a string": ['451-["echo",{"_placeholder":true,"num":"splice"}]', Buffer.from([1])],
  "too many attachments": ['459999999-["echo"]'],
  "a binary event with no attachments": ['450-["echo"]'],
  "very deep JSON": [`42["echo",${"[".repeat(5000)}${"]".repeat(5000)}]`],
};

/** The reasons for messages that already break the rules of Engine.IO. */
const ENGINE_REASONS = {
  "an engine packet of an unknown type": "parse error",
  "an empty message": "parse error",
  "a ping": "transport error",
};

for (const [name, messages] of Object.entries(MALFORMED)) {
  testOnce(`a client that sends ${name} is closed, and no other`, {}, async (server) => {
    const other = await server.connect();
    const raw = await server.raw();
    messages.forEach((message) => raw.send(message));
    await raw.closed();
    assert.equal(await server.disconnectReason(raw.sid), ENGINE_REASONS[name] ?? "forced close");
    assert.equal(await ask(other, "return", "unharmed"), "unharmed");
  });
}

testOnce("an event before the CONNECT is not handled and closes the client", {}, async (server) => {
  const other = await server.connect();
  const told = new Inbox(other, "told");
  const raw = await server.raw({ connect: false });
  await raw.next();
  raw.send('42["tell all","from nobody"]');
  await raw.closed();
  await flush(other);
  assert.deepEqual(told.all, []);
});

testOnce("an invalid WebSocket frame closes only its connection", {}, async (server) => {
  const other = await server.connect();
  const raw = await server.raw();
  raw._socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  assert.equal((await raw.closed()).code, 1002);
  assert.equal(await server.disconnectReason(raw.sid), "transport error");
  assert.equal(await ask(other, "return", "unharmed"), "unharmed");
});

testOnce("text that is not UTF-8 closes only its connection", {}, async (server) => {
  const raw = await server.raw();
  raw.send(Buffer.from([0x34, 0x32, 0xff]), { binary: false });
  assert.equal((await raw.closed()).code, 1007);
  assert.equal(await server.disconnectReason(raw.sid), "transport error");
});

test("a client that breaks the protocol over polling is closed", async (t) => {
  const server = await start(t);
  const other = await server.connect();
  const session = await server.handshake();
  await session.join();
  await session.post('42["echo"');
  assert.match(await (await session.poll()).text(), /^1$|"code":1/);
  assert.equal(await ask(other, "return", "unharmed"), "unharmed");
});
