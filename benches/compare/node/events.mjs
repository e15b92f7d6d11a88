// The handlers that every measured server has.
export function handle(io) {
  io.on("connection", (socket) => {
    socket.on("echo", (data) => socket.emit("echo", data));
    socket.on("bin", (data) => socket.emit("bin", data));
    socket.on("ack", (data, answer) => answer(data));
    socket.on("broadcast", (data) => io.emit("broadcast", data));
    socket.on("join", (rooms, answer) => {
      socket.join(rooms);
      answer();
    });
    socket.on("leave", (rooms, answer) => {
      rooms.forEach((room) => socket.leave(room));
      answer();
    });
    socket.on("room", (room, data) => io.to(room).emit("room", data));
  });
}

// The time between two pings, in milliseconds.
export const pingInterval = Number(process.env.PING_INTERVAL ?? 25_000);
