// The handlers that every measured server has.
export function handle(io) {
  io.on("connection", (socket) => {
    socket.on("echo", (data) => socket.emit("echo", data));
    socket.on("bin", (data) => socket.emit("bin", data));
    socket.on("ack", (data, answer) => answer(data));
    socket.on("broadcast", (data) => io.emit("broadcast", data));
  });
}
