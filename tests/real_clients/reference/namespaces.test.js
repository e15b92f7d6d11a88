// Namespaces, after the reference's `namespaces.ts`.
import assert from "node:assert/strict";
import { ask, crowd, next, testEach, testOnce } from "./harness.js";

testEach("a namespace is the same with and without its slash", async (server) => {
  const client = await server.connect({ namespace: "" });
  assert.equal(client.nsp, "/");
  assert.deepEqual(await ask(client, "names", ["", "/", "chat", "/chat"]), ["/", "/", "/chat", "/chat"]);
});

testEach("several namespaces of a connection end with it", async (server) => {
  const main = await server.connect();
  const chat = main.io.socket("/chat");
  await next(chat, "connect");
  const ids = [main.id, chat.id];
  const ends = [next(main, "disconnect"), next(chat, "disconnect")];
  main.io.engine.close();
  for (const [reason] of await Promise.all(ends)) assert.equal(reason, "forced close");
  assert.equal(await server.disconnectReason(ids[0], "/"), "transport close");
  assert.equal(await server.disconnectReason(ids[1], "/chat"), "transport close");
});

testOnce("two clients of one namespace do not share a connection", async (server) => {
  const [a, b] = await Promise.all([1, 2].map(() => server.connect({ forceNew: false })));
  assert.notEqual(a.io, b.io);
  assert.notEqual(a.id, b.id);
  assert.deepEqual((await ask(a, "members", "/", null)).sort(), [a.id, b.id].sort());
});

testEach("the sockets of a namespace, and of its rooms, can be listed", async (server) => {
  const rooms = { a: ["foo"], b: ["bar"], c: [], d: ["foo"] };
  const { a, b, c, d } = await crowd(server, rooms, { a: "/chat", b: "/chat", c: "/chat", d: "/news" });
  const members = async (...args) => (await ask(a, "members", ...args)).sort();
  assert.deepEqual(await members("/chat", null), [a.id, b.id, c.id].sort());
  assert.deepEqual(await members("/chat", "foo"), [a.id]);
  assert.deepEqual(await members("/news", null), [d.id]);
  assert.deepEqual(await members("/news", "foo"), [d.id]);
  assert.deepEqual(await members("/", null), []);
});

for (const [namespace, name] of [["/", "the main namespace"], ["/chat", "another namespace"]]) {
  testEach(`a broadcast of ${name} can exclude a socket or a room`, async (server) => {
    const { a, b, heard } = await crowd(server, { a: [], b: ["room"] }, { a: namespace, b: namespace });
    assert.equal(await ask(b, "broadcast", { from: "namespace", except: [b.id] }), 1);
    assert.equal(await ask(b, "broadcast", { from: "namespace", except: ["room"] }), 1);
    assert.equal(await ask(a, "broadcast", { from: "namespace", except: [a.id, "room"] }), 0);
    assert.deepEqual(await heard(), ["a: text", "a: text"]);
  });
}

testEach("a namespace stays when its last client has left", async (server) => {
  const main = await server.connect();
  const chat = main.io.socket("/chat");
  await next(chat, "connect");
  const { id } = chat;
  chat.disconnect();
  await server.disconnectReason(id, "/chat");
  assert.deepEqual(await ask(main, "members", "/chat", null), []);
  chat.connect();
  await next(chat, "connect");
  assert.deepEqual(await ask(main, "members", "/chat", null), [chat.id]);
});
