// The reference on Node.
import { Server } from "socket.io";
import { handle } from "./events.mjs";

const io = new Server(Number(process.env.PORT));
// Saves memory, as its documentation advises.
io.engine.on("connection", (raw) => {
  raw.request = null;
});
handle(io);
