// Loads the JavaScript client, connects a page to its server, and shows how it is connected.

const CDN = {
  src: "https://cdn.socket.io/4.8.1/socket.io.min.js",
  integrity: "sha384-mkQ3/7FUtcGyoppY6bz/PORYoGqOl7/aSUMn2ymDOJcapfS6PHqxhRTMh1RR0Q6+",
  crossOrigin: "anonymous",
};

/** Milliseconds for which the page says that it is connected again. */
const AGAIN = 5000;

/** Returns `io(options)`. The element `status` shows the state of the connection, and the element `refused`, if the page
 * has it, why the server refused the connection. Without a connection, the style greys what has the class `live`, because
 * it may be out of date, and every `fieldset` is disabled. */
export async function connect(options) {
  const [status, refused] = ["status", "refused"].map((id) => document.getElementById(id));
  try {
    // The server has it if npm's socket.io-client is installed in `examples`.
    await load({ src: "/socket.io/socket.io.min.js" }).catch(() => load(CDN));
  } catch (error) {
    status.textContent = "The JavaScript client is missing: go online, or run npm install in the folder examples, and reload this page.";
    throw error;
  }
  const socket = window.io(options);
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

function load(attributes) {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), attributes);
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${script.src} could not be loaded`));
    document.head.append(script);
  });
}
