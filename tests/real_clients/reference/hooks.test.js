// What the application says about HTTP requests, after `server.js` and `middlewares.js` of the reference's engine.io.
import assert from "node:assert/strict";
import { WebSocket } from "ws";
import { ask, next, testEach, testOnce, within } from "./harness.js";

const HOOKS = { hooks: true };
const OPEN = "/socket.io/?EIO=4&transport=polling";

/** Waits for the report of a refused request, and returns its code, message and context. */
async function refusal(server) {
  const [, code, message, context] = await server.line(/^refused (\d) ([\w ]+?) (\{.*\})$/);
  return [Number(code), message, JSON.parse(context)];
}

/** Asks for a WebSocket, and returns the response, whatever it is. */
function upgrade(server, query = "", options = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/socket.io/?EIO=4&transport=websocket${query}`, options);
  server.t.after(() => socket.terminate());
  socket.on("error", () => {});
  return within(new Promise((resolve) => {
    socket.on("upgrade", resolve);
    socket.on("unexpected-response", (_, response) => resolve(response));
  }), "the response to a WebSocket handshake");
}

testEach("clients of all transports pass the hooks", async (server) => {
  const client = await server.connect();
  assert.equal(await ask(client, "return", "text"), "text");
}, HOOKS);

// Initial headers and headers.

testOnce("a cookie of the first response comes back with the later requests of its session", async (server) => {
  const client = await server.connect({ transport: "upgraded", withCredentials: true });
  assert.equal(new Map(client.io.engine._cookieJar.cookies).get("first").value, "hello");
  await server.line(/^request GET polling $/);
  await server.line(/^request POST polling first=hello$/);
  await server.line(/^request GET polling first=hello$/);
  await server.line(/^request GET websocket first=hello$/);
}, HOOKS);

testOnce("initial headers are in the first response of a session only", async (server) => {
  const opened = await server.fetch(OPEN);
  assert.equal(opened.headers.get("set-cookie"), "first=hello");
  const { sid } = JSON.parse((await opened.text()).slice(1));
  const posted = await server.fetch(`${OPEN}&sid=${sid}`, { method: "POST", body: "40" });
  assert.equal(posted.headers.get("set-cookie"), null);
  assert.deepEqual((await upgrade(server)).headers["set-cookie"], ["first=hello"]);
}, HOOKS);

testOnce("headers are in every response, refusals included", async (server) => {
  const opened = await server.fetch(OPEN);
  const { sid } = JSON.parse((await opened.text()).slice(1));
  const posted = await server.fetch(`${OPEN}&sid=${sid}`, { method: "POST", body: "40" });
  const polled = await server.fetch(`${OPEN}&sid=${sid}`);
  const refused = await server.fetch(`${OPEN}&sid=unknown`);
  const responses = [opened, posted, polled, refused];
  assert.deepEqual(responses.map(({ status }) => status), [200, 200, 200, 400]);
  assert.deepEqual(responses.map(({ headers }) => headers.get("x-all")), ["GET", "POST", "GET", "GET"]);
  const upgraded = [await upgrade(server), await upgrade(server, "&sid=unknown")];
  assert.deepEqual(upgraded.map(({ statusCode }) => statusCode), [101, 400]);
  for (const { headers } of upgraded) assert.equal(headers["x-all"], "GET");
}, HOOKS);

// Ids of sessions.

testEach("a function of the application draws the ids of sessions", async (server) => {
  const clients = await Promise.all([server.connect(), server.connect()]);
  const ids = clients.map((client) => client.io.engine.id);
  for (const id of ids) assert.match(id, /^H.{19}$/);
  assert.notEqual(ids[0], ids[1]);
  for (const client of clients) assert.notEqual(client.id, client.io.engine.id);
}, HOOKS);

testEach("a client is refused if no id can be drawn for it", async (server) => {
  const client = server.client({ query: { id: "none" } });
  await next(client, "connect_error");
  const context = { name: "ID_GENERATION_ERROR", error: "no id for you" };
  assert.deepEqual(await refusal(server), [3, "Bad request", context]);
}, HOOKS);

// Middleware for requests.

testOnce("every middleware is asked about a request, and adds headers to the response", async (server) => {
  const opened = await server.fetch(OPEN);
  assert.deepEqual(["x-first", "x-second"].map((name) => opened.headers.get(name)), ["1", "2"]);
  const { headers } = await upgrade(server);
  assert.deepEqual([headers["x-first"], headers["x-second"]], ["1", "2"]);
}, HOOKS);

testEach("a middleware refuses a client with a response of its own", async (server, transport) => {
  const client = server.client({ query: { refuse: "yes" } });
  const [error] = await next(client, "connect_error");
  assert.equal(error.type, "TransportError");
  if (transport !== "websocket") assert.equal(error.description, 401);
  assert.deepEqual(await refusal(server), [3, "Bad request", { name: "MIDDLEWARE_FAILURE" }]);
  assert.equal(await (await server.fetch(`${OPEN}&refuse=yes`)).text(), "log in");
}, HOOKS);

testOnce("a middleware refuses a WebSocket handshake with a response of its own", async (server) => {
  const refused = await upgrade(server, "&refuse=yes");
  assert.equal(refused.statusCode, 401);
  assert.equal(Buffer.concat(await refused.toArray()).toString(), "log in");
}, HOOKS);

// The reports of refused requests.

testEach("a client that is not allowed is reported with the reason", async (server, transport) => {
  const client = server.client({ query: { allow: "no" } });
  const [error] = await next(client, "connect_error");
  assert.equal(error.type, "TransportError");
  if (transport !== "websocket") assert.equal(error.description, 403);
  assert.deepEqual(await refusal(server), [4, "Forbidden", { message: "not allowed" }]);
  const response = await server.fetch(`${OPEN}&allow=no`);
  assert.deepEqual([response.status, await response.json()], [403, { code: 4, message: "not allowed" }]);
}, HOOKS);

for (const [name, path, options, status, expected] of [
  ["an unknown transport", "transport=tobi", {}, 400, [0, "Transport unknown", { transport: "tobi" }]],
  ["a property of every object as transport", "transport=constructor", {}, 400, [
    0, "Transport unknown", { transport: "constructor" },
  ]],
  ["an unknown session", "transport=polling&sid=test", {}, 400, [1, "Session ID unknown", { sid: "test" }]],
  ["a handshake by another method", "transport=polling", { method: "PUT" }, 400, [
    2, "Bad handshake method", { method: "PUT" },
  ]],
  ["a WebSocket handshake without the upgrade", "transport=websocket", {}, 400, [
    3, "Bad request", { name: "TRANSPORT_HANDSHAKE_ERROR" },
  ]],
  ["an unsupported version", "transport=polling&EIO=2", {}, 400, [
    5, "Unsupported protocol version", { protocol: "2" },
  ]],
]) {
  testOnce(`${name} is refused and reported`, async (server) => {
    const version = path.includes("EIO=") ? "" : "EIO=4&";
    const response = await server.fetch(`/socket.io/?${version}${path}`, options);
    assert.equal(response.status, status);
    const [code, message] = expected;
    assert.deepEqual(await response.json(), { code, message });
    assert.deepEqual(await refusal(server), expected);
  }, HOOKS);
}

testOnce("a WebSocket of another origin is refused and reported", async (server) => {
  const refused = await upgrade(server, "", { origin: "https://elsewhere.example" });
  assert.equal(refused.statusCode, 400);
  assert.deepEqual(await refusal(server), [4, "Forbidden", { message: "Origin not allowed" }]);
}, HOOKS);

testOnce("a session that changes its transport without an upgrade is refused and reported", async (server) => {
  const client = await server.connect({ transport: "upgraded" });
  const response = await server.fetch(`${OPEN}&sid=${client.io.engine.id}`);
  assert.equal(response.status, 400);
  const context = { name: "TRANSPORT_MISMATCH", transport: "polling", previousTransport: "websocket" };
  assert.deepEqual(await refusal(server), [3, "Bad request", context]);
  assert.equal(await ask(client, "return", "unharmed"), "unharmed");
}, HOOKS);
