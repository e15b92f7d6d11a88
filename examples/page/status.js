// Loads the client's script for a page, and shows how the page is connected.

const CDN = {
  src: "https://cdn.socket.io/4.8.1/socket.io.min.js",
  integrity: "sha384-mkQ3/7FUtcGyoppY6bz/PORYoGqOl7/aSUMn2ymDOJcapfS6PHqxhRTMh1RR0Q6+",
  crossOrigin: "anonymous",
};

/** Loads the client's script and returns `io(options)`; the element `status` shows the state of the connection. */
export async function connect(options) {
  const status = document.getElementById("status");
  const say = (state, text) => {
    status.dataset.state = state;
    status.textContent = text;
  };
  try {
    // The server has the script if npm's socket.io-client is installed in `examples`.
    await load({ src: "/socket.io/socket.io.js" }).catch(() => load(CDN));
  } catch (error) {
    say("off", "The client’s script could not be loaded: go online, or run npm install in the examples folder.");
    throw error;
  }

  const socket = window.io(options);
  let again = "";
  const connected = () => say("on", `connected ${again}over ${socket.io.engine.transport.name}`);
  socket.on("connect", connected);
  socket.io.on("open", () => socket.io.engine.on("upgrade", () => socket.connected && connected()));
  socket.on("disconnect", (reason) => {
    again = "again ";
    say("off", `disconnected (${reason})${socket.active ? ", trying again" : ""}`);
  });
  socket.on("connect_error", (error) => {
    say("off", socket.active ? "the server does not answer, trying again" : `refused: ${error.message}`);
  });
  say("off", socket.active ? "connecting" : "not connected yet");
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
