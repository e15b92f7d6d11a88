// The server as a layer of an axum application with routes and layers of its own.
import assert from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import { ask, next, testEach, testOnce } from "./harness.js";

const mounted = "axum";
const ORIGIN = "https://example.com";
const OPEN = "/socket.io/?EIO=4&transport=polling";
const PREFLIGHT = { method: "OPTIONS", headers: { origin: ORIGIN, "access-control-request-method": "POST" } };

testEach("the application's routes work beside the server", { mounted }, async (server) => {
  const client = await server.connect();
  const hello = await server.fetch("/hello");
  assert.equal(await hello.text(), "hello from the application");
  const near = await server.fetch("/socket.io.html");
  assert.equal(await near.text(), "not socket.io");
  for (const elsewhere of ["/nothing", "/socket.iox/", "/socket.io/elsewhere", "/"]) {
    assert.equal((await server.fetch(elsewhere)).status, 404);
  }
  assert.equal(await ask(client, "return", "still here"), "still here");
});

testEach("a route of the application sends to all clients", { mounted }, async (server) => {
  const clients = await Promise.all([server.connect(), server.connect()]);
  const told = clients.map((client) => next(client, "told"));
  const response = await server.fetch("/tell", { method: "POST", body: "news" });
  assert.equal(await response.text(), "2");
  assert.deepEqual(await Promise.all(told), [["news"], ["news"]]);
});

testEach("handlers see what outer layers added to a request", { mounted }, async (server) => {
  const client = await server.connect();
  assert.equal(await ask(client, "trace"), "trace of /socket.io/");
  assert.equal(await ask(client, "headers", "x-added"), "by a layer");
  assert.equal(await ask(client, "address"), "127.0.0.1");
});

testOnce("CORS of the server applies to its own path only", { mounted, origin: ORIGIN }, async (server) => {
  const own = await server.fetch(OPEN, PREFLIGHT);
  assert.equal(own.status, 204);
  assert.equal(own.headers.get("access-control-allow-origin"), ORIGIN);
  const app = await server.fetch("/hello", PREFLIGHT);
  assert.equal(app.status, 405);
  assert.equal(app.headers.get("access-control-allow-origin"), null);
});

testOnce("CORS of the application applies to the server as well", { mounted, "app-origin": ORIGIN }, async (server) => {
  const headers = { origin: ORIGIN };
  for (const path of ["/hello", OPEN]) {
    const asked = await server.fetch(path, PREFLIGHT);
    assert.equal(asked.status, 200);
    const answered = await server.fetch(path, { headers });
    for (const response of [asked, answered]) {
      assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
    }
  }
});

testOnce("CORS of both sides does not double a header", { mounted, "app-origin": ORIGIN, origin: ORIGIN }, async (server) => {
  const response = await server.fetch(OPEN, { headers: { origin: ORIGIN } });
  assert.equal(response.status, 200);
  // A doubled header would read "a, a", which browsers refuse.
  assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
  assert.equal(response.headers.get("access-control-allow-credentials"), "true");
});

/** Sends a request's head and the beginning of its body, and returns the first line of the response. */
async function begin(server, head, body) {
  const socket = net.connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`${head.join("\r\n")}\r\nHost: x\r\n\r\n${body}`);
  const [chunk] = await once(socket, "data");
  socket.destroy();
  return `${chunk}`.split("\r\n")[0];
}

testOnce("a body that is too large is refused before it is read", { mounted, "max-payload": 10_000 }, async (server) => {
  for (const [header, body] of [
    ["Content-Length: 1000000000", "4"],
    // Without a length, it is refused for what has arrived.
    ["Transfer-Encoding: chunked", `4e20\r\n4${"x".repeat(19_999)}\r\n`],
  ]) {
    const session = await server.handshake();
    const sid = await session.join();
    const line = await begin(server, [`POST ${OPEN}&sid=${session.sid} HTTP/1.1`, header], body);
    assert.equal(line, "HTTP/1.1 413 Payload Too Large");
    assert.equal(await server.disconnectReason(sid), "transport error");
  }
});

testOnce("a truncated body ends its session", { mounted }, async (server) => {
  const session = await server.handshake();
  const sid = await session.join();
  const socket = net.connect(server.port, "127.0.0.1");
  socket.end(`POST ${OPEN}&sid=${session.sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n42["echo"`);
  assert.equal(await server.disconnectReason(sid), "transport error");
});

testOnce("a poll that the client abandons ends its session", { mounted }, async (server) => {
  const session = await server.handshake();
  const sid = await session.join();
  const socket = net.connect(server.port, "127.0.0.1");
  socket.write(`GET ${OPEN}&sid=${session.sid}&given-up HTTP/1.1\r\nHost: x\r\n\r\n`);
  // hyper ignores a request that arrives together with the end of its stream.
  await server.line(/^waiting .*&given-up$/);
  socket.destroy();
  assert.equal(await server.disconnectReason(sid), "transport error");
});

testEach("closing the server lets the application shut down", { mounted }, async (server) => {
  const client = await server.connect();
  const left = next(client, "disconnect");
  const code = await server.close();
  assert.equal(code, 0);
  assert.equal((await left)[0], "transport close");
});
