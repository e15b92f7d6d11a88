// Shared by the tests: a server of the reference in this process, and our client in a process of its own.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { Server } from "socket.io";
import { Program, test, within } from "../real_clients/program.js";

export { test, within };

/** With `PARSER=msgpack`, the packets are MessagePack. */
const { PARSER } = process.env;
const parser = PARSER ? await import(`socket.io-${PARSER}-parser`) : undefined;

const RUNTIMES = ["tokio", "smol"];
const WAYS = ["polling", "websocket", "upgrade"];

/** Registers a test for each runtime and each way to connect. */
export function testEach(name, run) {
  for (const runtime of RUNTIMES) {
    for (const way of WAYS) {
      test(`${name} (${runtime}, ${way})`, (t) => run(new World(t, runtime, way), way));
    }
  }
}

/** Registers a test for each runtime; without `way`, the test itself chooses how to connect. */
export function testOnce(name, run, way = undefined) {
  for (const runtime of RUNTIMES) test(`${name} (${runtime})`, (t) => run(new World(t, runtime, way)));
}

export class World {
  constructor(t, runtime, way) {
    Object.assign(this, { t, runtime, way, clients: [] });
    t.after(() => this.end());
  }

  /** Starts a server of the reference, with TLS if there is a certificate, and on the same port as the one before. */
  async serve(options = {}, prepare = () => {}, certificate = undefined) {
    this.http = certificate ? https.createServer(certificate) : http.createServer();
    this.scheme = certificate ? "https" : "http";
    this.io = new Server(this.http, parser ? { parser, ...options } : options);
    prepare(this.io);
    await once(this.http.listen(this.port ?? 0, "127.0.0.1"), "listening");
    this.port = this.http.address().port;
    return this.io;
  }

  /** Starts a server with a certificate from an authority, and returns a function from a file's name to its path. */
  async serveTls() {
    const folder = await mkdtemp(path.join(tmpdir(), "sockeye-"));
    this.t.after(() => rm(folder, { recursive: true }));
    const writer = new Program("real_server_client");
    writer.spawn(["certificates", folder]);
    assert.equal((await within(writer.exited, "the certificates"))[0], 0);
    const file = (name) => path.join(folder, name);
    await this.serve({}, undefined, { cert: await readFile(file("cert.pem")), key: await readFile(file("key.pem")) });
    return file;
  }

  /** Kills the clients, which would reconnect, then the server. */
  async end() {
    await Promise.all(this.clients.map((client) => client.kill()));
    await this.stop();
  }

  /** Closes the server and all of its connections at once. */
  async stop() {
    if (!this.io) return;
    const { io } = this;
    this.io = undefined;
    this.http.closeAllConnections();
    await io.close();
  }

  /** Starts our client. */
  client(args = [], namespace = "", port = this.port) {
    const client = new Client();
    this.clients.push(client);
    const url = `${this.scheme}://127.0.0.1:${port}${namespace}`;
    const way = this.way ? ["--way", this.way] : [];
    const form = PARSER ? ["--parser", PARSER] : [];
    client.spawn([url, "--runtime", this.runtime, ...way, ...form, ...args]);
    return client;
  }

  /** Starts our client, waits until it is connected, and returns it with the server's socket. */
  async connect(args = [], namespace = "/") {
    const connected = once(this.io.of(namespace), "connection");
    const client = this.client(args, namespace);
    const [socket] = await within(connected, "a connection");
    await client.line(/^connect /);
    await this.settle(socket);
    return { client, socket };
  }

  /** Returns a list to which the requests of all clients are added from now on. */
  requests() {
    const requests = [];
    // Without a listener for upgrades, Node treats them as ordinary requests; so none must be added.
    for (const event of ["request", "upgrade"].filter((event) => this.http.listenerCount(event) > 0)) {
      this.http.prependListener(event, ({ url, headers }) => {
        requests.push({ headers, ...Object.fromEntries(new URL(url, "http://server").searchParams) });
      });
    }
    return requests;
  }

  /** Waits for the upgrade if the client is going to make one. */
  async settle(socket) {
    if (this.way !== "upgrade" || socket.conn.transport.name === "websocket") return;
    await within(once(socket.conn, "upgrade"), "the upgrade");
  }
}

export class Client extends Program {
  constructor() {
    super("real_server_client");
  }

  /** Sends a command to the client: see client.rs. */
  tell(command, namespace, event = "", ...args) {
    this.process.stdin.write(`${command} ${namespace} ${event} ${JSON.stringify(args)}\n`);
  }

  /** Waits for the acknowledgement of an event, and returns it. */
  async answer(event) {
    const [, json] = await this.line(new RegExp(`^answer ${event} (.*)$`));
    return JSON.parse(json);
  }
}
