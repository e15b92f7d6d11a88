// Namespaces, and the middleware that guards them.
import assert from "node:assert/strict";
import { Manager } from "socket.io-client";
import { TRANSPORTS, ask, exchange, next, parser, testEach } from "./harness.js";

testEach("namespaces share a connection and nothing else", {}, async (server, transport) => {
  const main = await server.connect();
  const chat = main.io.socket("/chat");
  const welcome = main.io.socket("/members", { auth: { password: "open sesame", name: "Ann" } });
  await Promise.all([next(chat, "connect"), next(welcome, "connect")]);
  assert.equal(new Set([main.id, chat.id, welcome.id]).size, 3);
  assert.ok(![main.id, chat.id, welcome.id].includes(main.io.engine.id), "the session's id is a secret");

  const told = [];
  main.on("told", (text) => told.push(["/", text]));
  chat.on("told", (text) => told.push(["/chat", text]));
  assert.equal(await ask(chat, "tell others", "nobody else is here"), 0);
  assert.equal(await ask(main, "tell all", "main only"), 1);
  assert.deepEqual(await exchange(chat, "echo", ["a", Buffer.from("b")]), ["a", Buffer.from("b")]);
  assert.equal(await ask(welcome, "return", 1), 1);
  assert.deepEqual(told, [["/", "main only"]]);
  assert.equal(main.io.engine.opts.transports.length, TRANSPORTS[transport].length);
});

testEach("leaving one namespace leaves the others", {}, async (server) => {
  const main = await server.connect();
  const chat = main.io.socket("/chat");
  await next(chat, "connect");
  const { id } = chat;
  chat.disconnect();
  assert.equal(await server.disconnectReason(id, "/chat"), "client namespace disconnect");
  assert.equal(await ask(main, "return", "here"), "here");
  chat.connect();
  await next(chat, "connect");
  assert.notEqual(chat.id, id);
  assert.equal(await ask(chat, "return", "again"), "again");
});

testEach("an unknown namespace refuses", {}, async (server) => {
  const main = await server.connect();
  const unknown = main.io.socket("/nowhere");
  const [error] = await next(unknown, "connect_error");
  assert.equal(error.message, "Invalid namespace");
  assert.equal(unknown.active, false);
  assert.equal(await ask(main, "return", "unharmed"), "unharmed");
});

testEach("a client can use a namespace without the main one", {}, async (server) => {
  const chat = await server.connect({ namespace: "/chat" });
  assert.deepEqual(await exchange(chat, "echo", [1]), [1]);
});

testEach("a middleware refuses with a message and data", {}, async (server) => {
  const stranger = server.client({ namespace: "/members", auth: { password: "1234" } });
  const [error] = await next(stranger, "connect_error");
  assert.equal(error.message, "not a member");
  assert.deepEqual(error.data, { code: 401, got: { password: "1234" } });
  assert.equal(stranger.connected, false);
});

testEach("a refused client can try again on the same connection", {}, async (server) => {
  const stranger = server.client({ namespace: "/members" });
  const [error] = await next(stranger, "connect_error");
  assert.deepEqual(error.data, { code: 401, got: {} });
  stranger.auth = (send) => send({ password: "open sesame", name: "Bob" });
  const welcome = next(stranger, "welcome");
  stranger.connect();
  assert.deepEqual(await welcome, ["Bob", ["let in"]]);
  assert.equal(await ask(stranger, "return", "hi"), "hi");
});

testEach("events that are emitted before the middleware has decided are handled after it", {}, async (server) => {
  const member = server.client({ namespace: "/members", auth: { password: "open sesame" } });
  const welcome = next(member, "welcome");
  assert.equal(await ask(member, "return", "early"), "early");
  assert.deepEqual(await welcome, ["nobody", ["let in"]]);
});

testEach("the namespaces of one connection are joined at once", {}, async (server, transport) => {
  const manager = new Manager(server.url, { transports: TRANSPORTS[transport], forceNew: true, ...(parser ? { parser } : {}) });
  const sockets = ["/", "/chat", "/members"].map((name) => manager.socket(name, { auth: { password: "open sesame" } }));
  server.clients.push(...sockets);
  const answers = await Promise.all(sockets.map((socket) => ask(socket, "return", socket.nsp)));
  assert.deepEqual(answers, ["/", "/chat", "/members"]);
});

testEach("the handshake's headers reach the handlers", {}, async (server) => {
  const client = await server.connect({ extraHeaders: { "X-Fish": "salmon" } });
  assert.equal(await ask(client, "headers", "x-fish"), "salmon");
  assert.equal(await ask(client, "headers", "x-bird"), null);
});

testEach("the server knows the transport", {}, async (server, transport) => {
  const client = await server.connect();
  const known = await ask(client, "transport");
  if (transport === "upgrading") assert.ok(TRANSPORTS.upgrading.includes(known));
  else assert.equal(known, transport === "upgraded" ? "websocket" : transport);
});
