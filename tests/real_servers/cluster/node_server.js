// A server in Node for a cluster: PORT, REDIS as a URL, --adapter classic|sharded|streams, --mode, the subscription mode of
// `sharded`, --recovery on (of streams), and --redis-cluster if the URLs, separated by commas, are servers of a Redis Cluster. Its events are those of
// examples/cluster_node.rs.
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { createAdapter as createClassicAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient, createCluster } from "redis";
import { Server } from "socket.io";

const { values: options } = parseArgs({
  options: {
    adapter: { type: "string", default: "classic" },
    mode: { type: "string", default: "dynamic" },
    recovery: { type: "string", default: "off" },
    "redis-cluster": { type: "boolean", default: false },
  },
});

const { REDIS: url = "redis://127.0.0.1:6379", PORT = "0" } = process.env;
const rootNodes = url.split(",").map((node) => ({ url: node }));
const pub = options["redis-cluster"] ? createCluster({ rootNodes }) : createClient({ url });
const clients = options.adapter === "streams" ? [pub] : [pub, pub.duplicate()];
for (const client of clients) client.on("error", (error) => console.error(`node: ${error.message}`));
await Promise.all(clients.map((client) => client.connect()));

const adapters = {
  classic: () => createClassicAdapter(...clients),
  sharded: () => createShardedAdapter(...clients, { subscriptionMode: options.mode }),
  streams: () => createStreamsAdapter(pub),
};
const http = createServer();
const io = new Server(http, {
  adapter: adapters[options.adapter](),
  ...(options.recovery === "on" && { connectionStateRecovery: {} }),
});

const at = ({ rooms = [], except = [] }) => io.to(rooms).except(except);
const local = () => http.address().port;
// An emitter waits for no answer.
io.on("where", (answer) => answer?.(local()));

io.on("connection", (socket) => {
  if (!socket.recovered) socket.data = socket.handshake.auth;
  socket.on("join", async (room, done) => done(await socket.join(room) ?? true));
  socket.on("leave", async (room, done) => done(await socket.leave(room) ?? true));
  socket.on("rooms", (done) => done([...socket.rooms].filter((room) => room !== socket.id)));
  socket.on("emit", ({ event, args, times = 1, ...target }, done) => {
    for (let i = 0; i < times; i++) at(target).emit(event, ...args);
    done(true);
  });
  socket.on("ask", ({ event, args, timeout, ...target }, done) => {
    at(target).timeout(timeout).emit(event, ...args, (_, answers) => done(answers));
  });
  socket.on("fetch", async (target, done) => {
    const sockets = await at(target).fetchSockets().catch(() => []);
    done(sockets.map(({ id, rooms, data }) => ({ id, rooms: [...rooms], data })));
  });
  socket.on("move", ({ join, leave, ...target }, done) => {
    if (join) at(target).socketsJoin(join);
    if (leave) at(target).socketsLeave(leave);
    done(true);
  });
  socket.on("kick", ({ close, ...target }, done) => {
    done(true);
    at(target).disconnectSockets(close);
  });
  socket.on("tell", ({ event, args }, done) => {
    io.serverSideEmit(event, ...args, (_, answers) => done(answers));
  });
});

http.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on port ${local()}`));
process.stdin.on("end", () => process.exit(0)).resume();
