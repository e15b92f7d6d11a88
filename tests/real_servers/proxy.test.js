// Connections through a proxy that opens tunnels with `CONNECT`.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { testEach, testOnce } from "./harness.js";

/** A proxy with a password, which records the target of each tunnel. */
class Tunnels {
  constructor(t) {
    this.opened = [];
    this.http = http.createServer((request, response) => response.writeHead(405).end());
    this.http.on("connect", (request, socket, head) => {
      socket.on("error", () => {});
      if (request.headers["proxy-authorization"] !== `Basic ${btoa("me:s@fe")}`) {
        return socket.end("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
      }
      this.opened.push(request.url);
      const { hostname, port } = new URL(`http://${request.url}`);
      const server = net.connect(port, hostname, () => {
        socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        server.write(head);
        server.pipe(socket).pipe(server);
      });
      server.on("error", () => socket.destroy());
      socket.on("close", () => server.destroy());
    });
    t.after(() => {
      this.http.closeAllConnections();
      this.http.close();
    });
  }

  /** Returns the proxy's URL with the credentials `user`. */
  async url(user) {
    if (!this.http.listening) await once(this.http.listen(0, "127.0.0.1"), "listening");
    return `http://${user}@127.0.0.1:${this.http.address().port}`;
  }
}

/** Exchanges large events with acknowledgements in both directions. */
async function exchange(client, socket) {
  socket.on("length", (text, answer) => answer(text.length));
  client.tell("ask", "/", "length", "x".repeat(300_000));
  assert.equal(await client.answer("length"), 300_000);
  const args = [1, "two", Buffer.alloc(300_000, 7)];
  assert.deepEqual(await socket.timeout(5000).emitWithAck("bounce", args), args);
}

testEach("all connections go through the proxy", async (world, way) => {
  const tunnels = new Tunnels(world.t);
  await world.serve();
  const { client, socket } = await world.connect(["--proxy", await tunnels.url("me:s%40fe")]);
  await exchange(client, socket);
  assert.ok(tunnels.opened.length >= (way === "websocket" ? 1 : 2));
  assert.ok(tunnels.opened.every((url) => url === `127.0.0.1:${world.port}`));
  assert.equal(socket.handshake.headers["proxy-authorization"], undefined);
});

testEach("encrypted connections go through the proxy", async (world) => {
  const tunnels = new Tunnels(world.t);
  const file = await world.serveTls();
  const proxy = await tunnels.url("me:s%40fe");
  const { client, socket } = await world.connect(["--ca", file("ca.pem"), "--proxy", proxy]);
  assert.equal(socket.handshake.secure, true);
  await exchange(client, socket);
  assert.ok(tunnels.opened.length > 0);
});

testOnce("the error carries the status with which the proxy refused", async (world) => {
  const tunnels = new Tunnels(world.t);
  await world.serve();
  const client = world.client(["--proxy", await tunnels.url("me:wrong")]);
  await client.line(/^connect_error \/ \["cannot connect: the proxy answered with status 407",null\]$/);
  assert.deepEqual([tunnels.opened, world.io.engine.clientsCount], [[], 0]);
});
