// Two servers of the reference behind a proxy that routes each client by a cookie.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { World, testEach, within } from "./harness.js";

/** The proxy. A request without its cookie, or with one that names no server, goes to the next server in turn, and the
 * response sets the cookie. */
class Sticky {
  constructor(worlds, first) {
    this.worlds = worlds;
    this.turn = first;
    /** The server of each request. */
    this.routed = [];
    this.http = http.createServer((request, response) => {
      this.forward(request, response).on("response", (answer) => {
        response.writeHead(answer.statusCode, this.headers(request, answer));
        answer.pipe(response);
      });
    });
    this.http.on("upgrade", (request, socket) => {
      this.forward(request, socket).on("upgrade", (answer, behind, head) => {
        const lines = this.headers(request, answer).map((it, i) => (i % 2 ? `${it}\r\n` : `${it}: `));
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("")}\r\n`);
        socket.write(head);
        behind.pipe(socket).pipe(behind);
        socket.on("error", () => behind.destroy());
        behind.on("error", () => socket.destroy());
      });
    });
  }

  /** Forwards a request to its server. */
  forward(request, from) {
    const named = /(?:^|; )server=([01])(?:;|$)/.exec(request.headers.cookie ?? "")?.[1];
    request.server = Number(named ?? this.turn++ % 2);
    request.isNew = named === undefined;
    this.routed.push({ server: request.server, isNew: request.isNew, url: request.url });
    const { method, url, headers } = request;
    const { port } = this.worlds[request.server];
    const onward = http.request({ host: "127.0.0.1", port, method, path: url, headers, agent: false });
    onward.on("error", () => from.destroy());
    from.on("close", () => onward.destroy());
    request.pipe(onward);
    return onward;
  }

  headers({ server, isNew }, { rawHeaders }) {
    return isNew ? [...rawHeaders, "Set-Cookie", `server=${server}; Path=/; HttpOnly; SameSite=Lax`] : rawHeaders;
  }
}

testEach("a client stays with the server that a proxy's cookie names", async (world, way) => {
  const worlds = [world, new World(world.t)];
  for (const [at, server] of worlds.entries()) {
    const io = await server.serve({ connectionStateRecovery: {} });
    io.on("connection", (socket) => socket.on("where", (answer) => answer(at)));
  }

  for (const [at, { io }] of worlds.entries()) {
    const proxy = new Sticky(worlds, at);
    world.t.after(() => {
      proxy.http.closeAllConnections();
      proxy.http.close();
    });
    await once(proxy.http.listen(0, "127.0.0.1"), "listening");
    const { port } = proxy.http.address();
    const connected = once(io, "connection");
    const client = world.client([], "/", port);
    const [socket] = await within(connected, `the client at server ${at}`);
    await client.line(/^connect \/ /);
    await world.settle(socket);
    for (let i = 0; i < 5; i++) {
      client.tell("ask", "/", "where");
      assert.equal(await client.answer("where"), at);
    }
    // It reconnects to the server that knows it, with the offset of an event.
    socket.emit("text", 1);
    await client.line(/^event \/ text 1$/);
    const again = once(io, "connection");
    socket.conn.close();
    const [recovered] = await within(again, "the client to come back");
    assert.deepEqual([recovered.recovered, recovered.id], [true, socket.id]);
    await client.line(new RegExp(`^connect / ${socket.id} true$`));
    await world.settle(recovered);
    client.tell("ask", "/", "where");
    assert.equal(await client.answer("where"), at);
    await client.kill();

    const { routed } = proxy;
    assert.deepEqual(routed.map(({ isNew }) => isNew), routed.map((_, i) => i === 0), "only the first has no cookie");
    assert.ok(routed.every(({ server }) => server === at));
    const upgrades = routed.filter(({ url }) => url.includes("transport=websocket")).length;
    assert.equal(upgrades, way === "polling" ? 0 : 2);
  }
});
