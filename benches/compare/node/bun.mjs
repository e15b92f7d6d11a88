// The reference with its engine for Bun.
import { Server } from "socket.io";
import { Server as Engine } from "@socket.io/bun-engine";
import { handle, pingInterval } from "./events.mjs";

const engine = new Engine({ path: "/socket.io/", pingInterval });
const io = new Server();
io.bind(engine);
handle(io);
Bun.serve({ port: Number(process.env.PORT), hostname: "127.0.0.1", ...engine.handler() });
