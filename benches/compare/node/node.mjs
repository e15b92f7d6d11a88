// The reference on Node.
import { Server } from "socket.io";
import { handle, pingInterval } from "./events.mjs";

// For benches/jitter.
const recovery = process.argv.includes("--recovery") ? { connectionStateRecovery: {} } : {};
const io = new Server(Number(process.env.PORT), { pingInterval, ...recovery });
// Saves memory, as its documentation advises.
io.engine.on("connection", (raw) => {
  raw.request = null;
});
handle(io);
