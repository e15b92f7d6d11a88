// HTTP around the protocol: CORS, cookies, refusals and the client's script.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { MOUNTED, ask, next, testEach, testOnce, within } from "./harness.js";

const ORIGIN = "https://example.com";
const OPEN = "/socket.io/?EIO=4&transport=polling";

testOnce("a preflight from an allowed origin is answered", { origin: ORIGIN }, async (server) => {
  const headers = {
    origin: ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "x-fish",
  };
  const response = await server.fetch(OPEN, { method: "OPTIONS", headers });
  assert.equal(response.status, 204);
  assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
  assert.equal(response.headers.get("access-control-allow-credentials"), "true");
  assert.equal(response.headers.get("access-control-allow-headers"), "x-fish");
  assert.match(response.headers.get("access-control-allow-methods"), /\bPOST\b/);
  assert.match(response.headers.get("vary"), /origin/i);
});

testOnce("responses carry CORS headers, refusals included", { origin: ORIGIN }, async (server) => {
  for (const [url, status] of [[OPEN, 200], [`${OPEN}&sid=unknown`, 400]]) {
    const known = await server.fetch(url, { headers: { origin: ORIGIN } });
    assert.equal(known.status, status);
    assert.equal(known.headers.get("access-control-allow-origin"), ORIGIN);
    const unknown = await server.fetch(url, { headers: { origin: "https://elsewhere.example" } });
    assert.notEqual(unknown.headers.get("access-control-allow-origin"), "https://elsewhere.example");
    assert.notEqual(unknown.headers.get("access-control-allow-origin"), "*");
  }
});

testOnce("responses of a session carry CORS headers, delayed ones included", { origin: ORIGIN }, async (server) => {
  const headers = { origin: ORIGIN };
  const opened = await server.fetch(OPEN, { headers });
  const { sid } = JSON.parse((await opened.text()).slice(1));
  const url = `${OPEN}&sid=${sid}`;
  const post = (body) => server.fetch(url, { method: "POST", headers, body });
  const joined = await post("40");
  const polled = await server.fetch(url, { headers });
  await polled.text();
  const waiting = server.fetch(`${url}&waits`, { headers });
  if (MOUNTED) await server.line(/^waiting .*&waits$/);
  const asked = await post('420["return",1]');
  const answered = await waiting;
  assert.equal(await answered.text(), "430[1]");
  const unreadable = await post("abc");
  assert.equal(unreadable.status, 400);
  for (const response of [joined, polled, asked, answered, unreadable]) {
    assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
  }
});

testOnce("without CORS no header allows another origin", {}, async (server) => {
  const response = await server.fetch(OPEN, { headers: { origin: ORIGIN } });
  assert.equal(response.headers.get("access-control-allow-origin"), null);
});

testOnce("the session's id is set as a cookie if the server is told to", { cookie: "fish" }, async (server) => {
  const response = await server.fetch(OPEN);
  const { sid } = JSON.parse((await response.text()).slice(1));
  assert.equal(response.headers.get("set-cookie"), `fish=${sid}; Path=/; HttpOnly; SameSite=Lax`);
});

testOnce("a client with a cookie jar keeps the session's cookie", { cookie: "fish" }, async (server) => {
  const client = await server.connect({ transport: "upgraded", withCredentials: true });
  assert.equal(new Map(client.io.engine._cookieJar.cookies).get("fish").value, client.io.engine.id);
  assert.equal(await ask(client, "return", 1), 1);
});

testOnce("by default no cookie is set", {}, async (server) => {
  assert.equal((await server.fetch(OPEN)).headers.get("set-cookie"), null);
});

testEach("a client that allow_request refuses gets a connect error", { token: "secret" }, async (server, transport) => {
  const stranger = server.client();
  const [error] = await next(stranger, "connect_error");
  if (transport === "websocket") {
    assert.equal(error.message, "websocket error");
  } else {
    assert.equal(error.message, "xhr poll error");
    assert.equal(error.description, 403);
  }
  const known = await server.connect({ query: { token: "secret" } });
  assert.equal(await ask(known, "return", "in"), "in");
});

testOnce("a refused handshake carries the reason", { token: "secret" }, async (server) => {
  const response = await server.fetch(`${OPEN}&token=wrong`);
  assert.equal(response.status, 403);
  assert.deepEqual(await response.json(), { code: 4, message: "a token, please" });
});

testOnce("invalid requests are answered as the reference answers them", {}, async (server) => {
  const answers = {
    "/socket.io/?EIO=4&transport=carrier-pigeon": [400, { code: 0, message: "Transport unknown" }],
    "/socket.io/?EIO=4&transport=polling&sid=unknown": [400, { code: 1, message: "Session ID unknown" }],
    "/socket.io/?EIO=4&transport=websocket": [400, { code: 3, message: "Bad request" }],
    "/socket.io/?EIO=9&transport=polling": [400, { code: 5, message: "Unsupported protocol version" }],
  };
  for (const [url, [status, body]] of Object.entries(answers)) {
    const response = await server.fetch(url);
    assert.equal(response.status, status);
    assert.deepEqual(await response.json(), body);
  }
  const posted = await server.fetch(OPEN, { method: "POST", body: "40" });
  assert.deepEqual([posted.status, await posted.json()], [400, { code: 2, message: "Bad handshake method" }]);
  assert.equal((await server.fetch("/nothing/here")).status, 404);
});

testOnce("a client that offers subprotocols is told the first, and stays", {}, async (server) => {
  for (const transport of ["websocket", "upgraded"]) {
    const client = await server.connect({ transport, protocols: ["one", "two"] });
    assert.equal(client.io.engine.transport.ws.protocol, "one");
  }
});

const DIST = path.join(import.meta.dirname, "node_modules/socket.io-client/dist");

testOnce("the client's script and its source map are served", { client: DIST }, async (server) => {
  for (const [name, type] of [["socket.io.js", "application/javascript"], ["socket.io.min.js.map", "application/json"]]) {
    const response = await server.fetch(`/socket.io/${name}`);
    assert.equal(response.status, 200);
    assert.ok(response.headers.get("content-type").startsWith(type));
    assert.equal(await response.text(), await readFile(path.join(DIST, name), "utf8"));
  }
  assert.equal((await server.fetch("/socket.io/package.json")).status, 404);
  // `fetch` would normalize these paths.
  for (const dots of ["..", "%2e%2e", "%2E%2E", "..%2f.."]) {
    const request = http.get({ host: "127.0.0.1", port: server.port, path: `/socket.io/${dots}/package.json` });
    const [response] = await within(once(request, "response"), "an answer");
    response.resume();
    assert.equal(response.statusCode, 404);
  }
});

testOnce("a request for the script with its ETag is answered with 304", { client: DIST }, async (server) => {
  const first = await server.fetch("/socket.io/socket.io.js");
  const etag = first.headers.get("etag");
  assert.match(etag, /^"[^"]+"$/);
  for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
    const again = await server.fetch("/socket.io/socket.io.js", { headers: { "if-none-match": known } });
    assert.equal(again.status, 304);
    assert.equal(again.headers.get("etag"), etag);
    assert.equal(await again.text(), "");
  }
  const other = await server.fetch("/socket.io/socket.io.js", { headers: { "if-none-match": '"other"' } });
  assert.equal(other.status, 200);
});
