// Shared by the tests: a server process for each test, clients that are closed after it, and waiting with a deadline.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { DEADLINE, Program, test, within } from "./program.js";

export { test, within };

/** With `MOUNTED=axum`, all servers except those with TLS are layers of an axum application. */
export const MOUNTED = process.env.MOUNTED;

/** With `PARSER=msgpack`, the packets are MessagePack. */
export const PARSER = process.env.PARSER;

/** The parser, or none for the default. */
export const parser = PARSER ? await import(`socket.io-${PARSER}-parser`) : undefined;

/** The ways in which a client can connect; `upgrading` does not wait for the upgrade, `upgraded` does. */
export const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrading: ["polling", "websocket"],
  upgraded: ["polling", "websocket"],
};

/** Registers a test for each way to connect, with a server that is started with `args`. */
export function testEach(name, args, run) {
  for (const transport of Object.keys(TRANSPORTS)) {
    test(`${name} (${transport})`, async (t) => {
      await run(await start(t, args, transport), transport);
    });
  }
}

/** Registers a test that chooses its transports itself. */
export function testOnce(name, args, run) {
  test(name, async (t) => run(await start(t, args, "upgrading"), t));
}

/** Starts a server that is killed when the test ends. */
export async function start(t, args = {}, transport = "upgrading", program = "real_client_server") {
  const server = new Server(t, transport, program);
  await server.start(args);
  return server;
}

class Server extends Program {
  constructor(t, transport, program) {
    super(program);
    this.t = t;
    this.transport = transport;
    this.clients = [];
    t.after(async () => {
      for (const { io: manager } of this.clients) {
        manager.reconnection(false);
        manager._close();
      }
      await this.kill();
    });
  }

  async start(args = {}) {
    const mounted = MOUNTED && !args.certificate ? { mounted: MOUNTED } : {};
    await this.listen((port) => {
      const form = PARSER ? { parser: PARSER } : {};
      const options = Object.entries({ port, ...mounted, ...form, ...args });
      this.spawn(options.flatMap(([name, value]) => [`--${name}`, `${value}`]));
    }, /^listening on (?<port>\d+)$/);
    this.url = `http://127.0.0.1:${this.port}`;
  }

  /** Waits until the server reports that a socket has disconnected, and returns the reason. */
  async disconnectReason(id, namespace = "/") {
    const [, reason] = await this.line(new RegExp(`^disconnected ${namespace} ${id} (.*)$`));
    return reason;
  }

  /** Connects a client. */
  async connect(options = {}) {
    const client = this.client(options);
    await next(client, "connect");
    if (options.transport ?? this.transport) await this.settle(client, options.transport ?? this.transport);
    return client;
  }

  /** Waits for the upgrade if the way to connect asks for that. */
  async settle(client, transport = this.transport) {
    const { engine } = client.io;
    if (transport === "upgraded" && engine.transport.name !== "websocket") await next(engine, "upgrade");
  }

  /** Creates a client, which connects by itself. */
  client({ namespace = "/", transport = this.transport, url = this.url, ...options } = {}) {
    const client = io(url + namespace, {
      transports: TRANSPORTS[transport],
      forceNew: true,
      reconnection: false,
      // A client that is closed while it upgrades keeps its ping timer, which would keep the process alive.
      autoUnref: true,
      ...(parser ? { parser } : {}),
      ...options,
    });
    this.clients.push(client);
    return client;
  }

  /** Opens a plain WebSocket, without a Socket.IO client. */
  async raw({ connect = true } = {}) {
    const socket = new WebSocket(`ws://127.0.0.1:${this.port}/socket.io/?EIO=4&transport=websocket`);
    this.t.after(() => socket.terminate());
    const messages = new Inbox(socket, "message", (data) => data.toString());
    socket.on("error", () => {});
    // Not `once`, which rejects on an error before the event.
    const closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    socket.closed = () => within(closed, "the end of the WebSocket");
    socket.next = () => messages.next();
    if (connect) {
      await socket.next();
      socket.send("40");
      socket.sid = sidIn(await messages.pick(sidIn));
    }
    return socket;
  }

  /** Opens a session over polling, without a client. */
  async handshake(query = "") {
    const response = await this.fetch(`/socket.io/?EIO=4&transport=polling${query}`);
    const { sid } = JSON.parse((await response.text()).slice(1));
    const url = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    const post = (body) => this.fetch(url, { method: "POST", body });
    const poll = () => this.fetch(url);
    /** Connects to the main namespace, and returns the socket's id. */
    const join = async () => {
      await post("40");
      for (;;) {
        const response = await poll();
        const payload = await response.text();
        assert.equal(response.status, 200, payload);
        const sid = sidIn(payload);
        if (sid) return sid;
      }
    };
    return { sid, post, poll, join };
  }

  fetch(path, options) {
    return within(fetch(this.url + path, options), `the answer to ${path}`);
  }

  /** Starts a proxy to the server whose connections can be cut. */
  async proxy() {
    const sockets = new Set();
    const proxy = net.createServer((incoming) => {
      const outgoing = net.connect(this.port, "127.0.0.1");
      for (const [from, to] of [[incoming, outgoing], [outgoing, incoming]]) {
        sockets.add(from);
        from.on("error", () => {}).on("close", () => to.destroy());
        from.pipe(to);
      }
    });
    await once(proxy.listen(0, "127.0.0.1"), "listening");
    const cut = () => sockets.forEach((socket) => socket.destroy());
    this.t.after(() => {
      cut();
      proxy.close();
    });
    return { url: `http://127.0.0.1:${proxy.address().port}`, cut };
  }
}

/** Collects the events of one name from now on, so that none is missed between two waits. */
export class Inbox {
  constructor(emitter, event, map = (...args) => args) {
    this.all = [];
    this.taken = 0;
    this.emitter = emitter;
    this.event = event;
    this.wake = () => {};
    emitter.on(event, (...args) => {
      this.all.push(map(...args));
      this.wake();
    });
  }

  /** Waits for the next event that was not taken yet. */
  async next() {
    if (this.taken === this.all.length) await this.more();
    return this.all[this.taken++];
  }

  /** Waits for the next event that fits, and takes it out; the events before it stay. */
  async pick(fits) {
    for (let at = this.taken; ; at += 1) {
      if (at === this.all.length) await this.more();
      if (fits(this.all[at])) return this.all.splice(at, 1)[0];
    }
  }

  more() {
    return within(new Promise((resolve) => (this.wake = resolve)), this.event);
  }

  /** Waits until there are this many events, and returns all of them. */
  async count(number) {
    while (this.taken < number) await this.next();
    return this.all;
  }
}

/** Returns the socket's id from the answer to a CONNECT; a ping may stand before it. */
function sidIn(payload) {
  return /40\{"sid":"(.{20})"\}/.exec(payload)?.[1];
}

/** Waits for the next event of a name, and returns its arguments. */
export function next(emitter, event) {
  return within(new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), event);
}

/** Emits, and waits for the acknowledgement, with a deadline. */
export function ask(client, event, ...args) {
  return client.timeout(DEADLINE).emitWithAck(event, ...args);
}

/** Emits, waits for the event that comes back, and returns its arguments. */
export async function exchange(client, event, args, back = event) {
  const answer = next(client, back);
  client.emit(event, ...args);
  return answer;
}

/** Waits until the clients have received everything that the server sent to them before. */
export async function flush(...clients) {
  await Promise.all(clients.map((client) => ask(client, "return")));
}
