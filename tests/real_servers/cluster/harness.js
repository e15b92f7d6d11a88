// Shared by the tests: a Redis, the servers of a cluster, and their clients.
import assert from "node:assert/strict";
import path from "node:path";
import { createClient } from "redis";
import { io } from "socket.io-client";
import { Program, within } from "../../real_clients/program.js";
import { Redis, redisServer, skip } from "./redis.js";

export { Redis, redisServer, skip, within };

/** The servers of a cluster: `tokio` and `smol` are ours. */
export const SERVERS = (process.env.SERVERS ?? "tokio,smol,node,node").split(",");

/** How the servers use Redis: the arguments of a server. */
export const DIALECTS = {
  classic: ["--adapter", "classic"],
  sharded: ["--adapter", "sharded"],
  "sharded, static": ["--adapter", "sharded", "--mode", "static"],
  "sharded, dynamic-private": ["--adapter", "sharded", "--mode", "dynamic-private"],
  "sharded, over a Redis Cluster": ["--adapter", "sharded", "--redis-cluster"],
  streams: ["--adapter", "streams"],
};

/** Waits until a condition holds: `check` returns its value, or throws or returns undefined as long as it does not. */
export async function eventually(what, check, time = 30_000) {
  const end = Date.now() + time;
  for (;;) {
    let reason = "";
    try {
      const value = await check();
      if (value !== undefined) return value;
    } catch (error) {
      reason = `: ${error.message}`;
    }
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}${reason}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A Redis Cluster of three servers, each with a third of the slots. */
class RedisCluster {
  static async start() {
    const cluster = new RedisCluster();
    cluster.servers = [];
    try {
      for (let i = 0; i < 3; i++) {
        cluster.servers.push(await Redis.start(["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]));
      }
      cluster.url = cluster.servers.map(({ url }) => url).join(",");
      await cluster.meet();
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  async meet() {
    const clients = await Promise.all(this.servers.map(({ url }) => createClient({ url }).connect()));
    try {
      const slots = [[0, 5460], [5461, 10922], [10923, 16383]];
      for (const [i, client] of clients.entries()) {
        await client.sendCommand(["CLUSTER", "ADDSLOTSRANGE", ...slots[i].map(String)]);
        for (const { port } of this.servers) {
          await client.sendCommand(["CLUSTER", "MEET", "127.0.0.1", String(port)]);
        }
      }
      for (const client of clients) {
        await eventually("the servers of the Redis Cluster to know each other", async () => {
          const info = await client.sendCommand(["CLUSTER", "INFO"]);
          return (info.includes("cluster_state:ok") && info.includes("cluster_known_nodes:3")) || undefined;
        });
      }
    } finally {
      for (const client of clients) client.destroy();
    }
  }

  async end() {
    await Promise.all(this.servers.map((server) => server.end()));
  }
}

/** A server of either kind. */
class Node extends Program {
  constructor(kind, url, args, profile) {
    super("cluster_node");
    this.path = this.path.replace("/debug/", `/${profile}/`);
    Object.assign(this, { kind, url });
    this.args = [...args, "--runtime", kind];
    if (kind === "node") {
      this.args = [path.join(import.meta.dirname, "node_server.js"), ...args];
      this.path = process.execPath;
    }
  }

  async start() {
    const env = { ...process.env, REDIS: this.url };
    await this.listen((port) => this.spawn(this.args, { ...env, PORT: String(port) }), /^listening on port (?<port>\d+)$/);
  }
}

/** A client of a server. */
export class Client {
  constructor(node, name) {
    this.node = node;
    this.name = name;
    this.received = [];
    this.socket = io(`http://127.0.0.1:${node.port}`, { transports: ["websocket"], auth: { name }, forceNew: true });
    this.socket.onAny((event, ...args) => this.received.push([event, ...args.filter((arg) => typeof arg !== "function")]));
    this.socket.on("question", (value, answer) => answer({ name, value }));
    // Only the clients that are told to stay silent do.
    this.socket.on("secret", (silent, answer) => silent.includes(name) || answer(name));
    this.left = new Promise((resolve) => this.socket.on("disconnect", resolve));
  }

  async connected() {
    await eventually(`a connection to ${this.node.kind}`, () => this.socket.connected || undefined);
    return this;
  }

  /** Asks the server for something: see the table in examples/cluster_node.rs. */
  ask(event, ...args) {
    return this.socket.timeout(30_000).emitWithAck(event, ...args);
  }

  /** Takes what was received under a name. */
  events(name) {
    return this.received.filter(([event]) => event === name).map(([, ...args]) => args);
  }
}

/** A Redis and the servers of a cluster, with one client each. */
export class Cluster {
  static async start(dialect, { kinds = SERVERS, redis = undefined, args = [], profile = "debug" } = {}) {
    const cluster = new Cluster();
    cluster.args = [...DIALECTS[dialect], ...args];
    cluster.redis = redis ?? await (cluster.args.includes("--redis-cluster") ? RedisCluster : Redis).start();
    cluster.nodes = kinds.map((kind) => new Node(kind, cluster.redis.url, cluster.args, profile));
    cluster.clients = [];
    cluster.others = [];
    try {
      await Promise.all(cluster.nodes.map((node) => node.start()));
      cluster.clients = cluster.nodes.map((node, i) => new Client(node, `client ${i}`));
      await Promise.all(cluster.clients.map((client) => client.connected()));
      await cluster.whole();
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  /** Waits until each server knows all others. */
  async whole(clients = this.clients) {
    const ports = (but) => clients.map(({ node }) => node).filter((node) => node !== but).map(({ port }) => port).sort();
    await Promise.all(clients.map((client) => eventually(`${client.node.kind} to know the others`, async () => {
      const answers = await client.ask("tell", { event: "where", args: [] });
      assert.deepEqual(answers.sort(), ports(client.node));
      return true;
    }, 60_000)));
  }

  /** Connects another client. */
  async connect(node, name) {
    const client = await new Client(node, name).connected();
    this.others.push(client);
    return client;
  }

  /** Lets clients join a room, and waits until each server reaches all of them by it, as the servers subscribe to the
   * channels of rooms after the join. */
  async join(room, clients = this.clients) {
    await Promise.all(clients.map((client) => client.ask("join", room)));
    await this.reached(room, clients);
  }

  async reached(room, clients, senders = this.clients) {
    for (const sender of senders) {
      const event = `probe ${room} ${sender.name}`;
      await eventually(`all sockets in ${room} to be reached by ${sender.node.kind}`, async () => {
        await sender.ask("emit", { rooms: [room], event, args: [] });
        await eventually("the probe", () => clients.every((it) => it.events(event).length > 0) || undefined, 500);
        return true;
      });
    }
  }

  /** Waits until nothing sent before can still arrive: everything that each sender has sent has reached everybody.
   * `rooms` are rooms that all of these clients are in. */
  async quiet(clients = this.clients, senders = this.clients, rooms = undefined) {
    const mark = `mark ${Math.random()}`;
    for (const sender of senders) await sender.ask("emit", { rooms, event: mark, args: [sender.name] });
    await eventually("the marks", () => {
      return clients.every((it) => it.events(mark).length >= senders.length) || undefined;
    });
  }

  async end() {
    for (const client of [...this.clients, ...this.others]) client.socket.disconnect();
    await Promise.all(this.nodes.map((node) => node.kill()));
    await this.redis?.end();
  }
}
