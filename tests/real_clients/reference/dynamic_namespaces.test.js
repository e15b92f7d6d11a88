// Namespaces that clients create, after "dynamic namespaces" in the reference's `namespaces.ts`.
import assert from "node:assert/strict";
import { ask, next, testEach, testOnce } from "./harness.js";

const CLEANUP = { cleanup: true };

/** Asks for a namespace that refuses, and returns the reason. */
async function refused(server, namespace, auth = {}) {
  const client = server.client({ namespace, auth });
  const [error] = await next(client, "connect_error");
  assert.equal(client.connected, false);
  return error.message;
}

testEach("a pattern creates a namespace, with the handlers and the middleware of its parent", async (server) => {
  const main = await server.connect();
  const client = server.client({ namespace: "/dynamic-101" });
  assert.deepEqual(await next(client, "name"), ["/dynamic-101"]);
  assert.equal(await ask(client, "number"), 101);
  assert.deepEqual(await ask(main, "children"), [["/dynamic-101", 1]]);
  const hello = next(client, "hello");
  assert.equal(await ask(main, "hello all", null), 1);
  assert.deepEqual(await hello, [1, "2", { 3: "4" }]);
});

testEach("a broadcast of the parent to a room reaches the sockets of all children in it", async (server) => {
  const main = await server.connect();
  const clients = await Promise.all([101, 102].map((n) => server.connect({ namespace: `/dynamic-${n}` })));
  assert.equal(await ask(main, "hello all", "another room"), 0);
  const hello = Promise.all(clients.map((client) => next(client, "hello")));
  assert.equal(await ask(main, "hello all", "some-room"), 2);
  for (const args of await hello) assert.deepEqual(args, [1, "2", { 3: "4" }]);
});

testEach("a function admits a namespace by its name and the client's credentials", async (server) => {
  const namespace = "/by-function";
  assert.equal(await refused(server, namespace), "Invalid namespace");
  const client = await server.connect({ namespace, auth: { token: "secret" } });
  // It exists now, so the function is not asked.
  const other = await server.connect({ namespace });
  assert.notEqual(client.id, other.id);
});

testEach("a name that no pattern and no function admits is refused", async (server) => {
  for (const namespace of ["/abc", "/dynamic-", "/dynamic-1/2", "/dynamic-x"]) {
    assert.equal(await refused(server, namespace), "Invalid namespace");
  }
  assert.deepEqual(await ask(await server.connect(), "children"), []);
});

testEach("each new namespace is told of once, however many clients ask for it", async (server) => {
  const main = await server.connect();
  const clients = await Promise.all(Array.from({ length: 10 }, () => server.connect({ namespace: "/dynamic-101" })));
  assert.deepEqual(await ask(main, "children"), [["/dynamic-101", 10]]);
  await server.connect({ namespace: "/dynamic-102" });
  assert.deepEqual(await ask(main, "created"), ["/dynamic-101", "/dynamic-102"]);
  const hello = Promise.all(clients.map((client) => next(client, "hello")));
  assert.equal(await ask(main, "hello all", null), 11);
  await hello;
});

testEach("an empty child is removed if the server cleans up, and can be created again", async (server) => {
  const main = await server.connect();
  for (const times of [1, 2]) {
    const client = await server.connect({ namespace: "/dynamic-101" });
    const { id } = client;
    client.disconnect();
    await server.disconnectReason(id, "/dynamic-101");
    assert.deepEqual(await ask(main, "children"), []);
    assert.equal((await ask(main, "created")).length, times);
  }
}, CLEANUP);

testEach("an empty child stays if the server does not clean up", async (server) => {
  const main = await server.connect();
  const client = await server.connect({ namespace: "/dynamic-101" });
  const { id } = client;
  client.disconnect();
  await server.disconnectReason(id, "/dynamic-101");
  assert.deepEqual(await ask(main, "children"), [["/dynamic-101", 0]]);
});

for (const [name, args] of [["cleans up", CLEANUP], ["does not clean up", {}]]) {
  testEach(`a child whose only client was refused is removed if the server ${name}`, async (server) => {
    const main = await server.connect();
    assert.equal(await refused(server, "/dynamic-101", { refuse: true }), "You shall not pass!");
    assert.deepEqual(await ask(main, "children"), []);
    assert.deepEqual(await ask(main, "created"), ["/dynamic-101"]);
  }, args);
}

testEach("a child stays if one client is refused and another is connected", async (server) => {
  const main = await server.connect();
  const client = await server.connect({ namespace: "/dynamic-101" });
  assert.equal(await refused(server, "/dynamic-101", { refuse: true }), "You shall not pass!");
  assert.deepEqual(await ask(main, "children"), [["/dynamic-101", 1]]);
  assert.equal(await ask(client, "number"), 101);
}, CLEANUP);

testOnce("a child that the server creates by hand belongs to its parent", async (server) => {
  const main = await server.connect();
  await ask(main, "names", ["/dynamic-101"]);
  assert.deepEqual(await ask(main, "children"), [["/dynamic-101", 0]]);
  const client = await server.connect({ namespace: "/dynamic-101" });
  assert.equal(await ask(client, "number"), 101);
});

testEach("a deleted namespace disconnects its clients and can be created again", async (server) => {
  const main = await server.connect();
  const client = await server.connect({ namespace: "/dynamic-101" });
  const end = next(client, "disconnect");
  assert.equal(await ask(main, "delete", "/dynamic-101"), true);
  assert.deepEqual((await end)[0], "io server disconnect");
  assert.equal(await ask(main, "delete", "/dynamic-101"), false);
  assert.deepEqual(await ask(main, "children"), []);
  client.connect();
  await next(client, "connect");
  assert.equal(await ask(client, "number"), 101);
});
