// Connects a page to its server, and shows how it is connected.
import { io } from "/socket.io/socket.io.esm.min.js";

/** Milliseconds for which the page says that it is connected again. */
const AGAIN = 5000;

/** Returns `io(options)`. The element `status` shows the state of the connection, and the element `refused`, if the page
 * has it, why the server refused the connection. Without a connection, the style greys what has the class `live`, because
 * it may be out of date, and every `fieldset` is disabled. */
export function connect(options) {
  const socket = io(options);
  const [status, refused] = ["status", "refused"].map((id) => document.getElementById(id));
  const say = (text) => {
    document.body.dataset.state = socket.connected ? "on" : "off";
    for (const part of document.querySelectorAll("fieldset")) part.disabled = !socket.connected;
    status.textContent = text;
  };
  let again = "";
  let calm;
  const connected = () => socket.connected && say(`Connected ${again}over ${socket.io.engine.transport.name}`);

  socket.on("connect", () => {
    connected();
    clearTimeout(calm);
    if (again) calm = setTimeout(() => connected(again = ""), AGAIN);
  });
  socket.io.on("open", () => socket.io.engine.on("upgrade", connected));
  socket.on("disconnect", (reason) => {
    clearTimeout(calm);
    again = "again ";
    say(`Disconnected (${reason})${socket.active ? ", trying again" : ""}`);
  });
  socket.on("connect_error", (error) => {
    if (socket.active) return say("The server is away, trying again");
    say(refused ? "Not connected" : `Refused: ${error.message}`);
    if (refused) refused.textContent = error.message;
  });
  say(socket.active ? "Connecting" : "Not connected");
  return socket;
}
