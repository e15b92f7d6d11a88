// Credentials that expire, and are renewed without a new connection.
import assert from "node:assert/strict";
import { next, testEach } from "./harness.js";

/** Returns an `auth` function, as an application has it, that answers with one token after the other, and later ones. */
function tokens(...list) {
  return (answer) => setTimeout(() => answer({ token: list.shift() }), 1);
}

testEach("a client whose credentials expire is disconnected by the server and can connect anew", {}, async (server) => {
  const client = server.client({ namespace: "/expiring", auth: tokens("first", "second") });
  const accepted = [];
  client.on("accepted", (token) => accepted.push(token));
  assert.deepEqual((await next(client, "disconnect"))[0], "io server disconnect");
  assert.equal(client.active, false, "the client does not come back by itself");
  client.connect();
  assert.deepEqual((await next(client, "disconnect"))[0], "io server disconnect");
  assert.deepEqual(accepted, ["first", "second"]);
});

testEach("a client that answers with its auth goes on until it is refused", {}, async (server) => {
  const client = server.client({ namespace: "/renewed", auth: tokens("first", "second", "third", "stale", "new") });
  client.on("auth:renew", (answer) => client.auth(answer));
  const accepted = [];
  client.on("accepted", (token) => accepted.push(token));
  await next(client, "connect");
  const { id } = client;
  assert.deepEqual((await next(client, "disconnect"))[0], "io server disconnect");
  assert.deepEqual(accepted, ["first", "second", "third"]);
  client.connect();
  assert.deepEqual(await next(client, "accepted"), ["new"]);
  assert.notEqual(client.id, id);
});
