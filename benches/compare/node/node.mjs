// The reference.
import { Server } from "socket.io";
import { handle } from "./events.mjs";

const io = new Server(Number(process.env.PORT));
// As its documentation advises, to save memory.
io.engine.on("connection", (raw) => {
  raw.request = null;
});
handle(io);
