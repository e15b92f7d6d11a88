// Pages with clients of Socket.IO 2 and 3. A browser reads bytes over polling, unlike Node.js.
import assert from "node:assert/strict";
import { Program } from "../real_clients/program.js";
import { serveClient } from "./client_page.js";
import { newPage, test } from "./harness.js";

/** Starts a server, and opens a page of another origin that has this client. */
async function visit(t, client, args) {
  const origin = await serveClient(t, client);
  const server = new Program("real_client_server");
  const options = Object.entries({ eio3: "on", origin, ...args }).flatMap(([name, value]) => [`--${name}`, value]);
  await server.listen((port) => server.spawn(["--port", `${port}`, ...options]), /^listening on (?<port>\d+)$/);
  t.after(() => server.kill());
  const page = await newPage(t);
  const types = new Set();
  page.on("response", (response) => {
    if (response.url().includes("transport=polling")) types.add(response.headers()["content-type"]);
  });
  await page.goto(`${origin}/`);
  return { page, types, url: `http://127.0.0.1:${server.port}` };
}

/** Runs in the page: connects, and returns what was acknowledged and received. */
async function talk({ url, transports }) {
  const socket = window.io(url, { transports, reconnection: false });
  await new Promise((resolve, reject) => socket.on("connect", resolve).on("connect_error", reject));
  const { engine } = socket.io;
  if (transports.length > 1 && engine.transport.name !== "websocket") {
    await new Promise((resolve) => engine.on("upgrade", resolve));
  }
  const ask = (...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
  const text = "€ \u{1f41f} \u0001\u2028";
  const bytes = new Uint8Array(Array.from({ length: 256 }, (_, byte) => byte));
  const [echoed] = await ask("return", text);
  const [joined] = await ask("join bytes", bytes, bytes.buffer);
  // Deep inside, version 2 knows no other bytes than these.
  const [mixed] = await ask("return", { text, deep: [bytes.buffer] });
  const many = await Promise.all(Array.from({ length: 50 }, (_, n) => ask("add", n, 1)));
  socket.disconnect();
  return {
    same: echoed === text && mixed.text === text,
    binary: new Uint8Array(joined).join() === [...bytes, ...bytes].join(),
    deep: new Uint8Array(mixed.deep[0]).join() === bytes.join(),
    many: many.flat(),
    transport: engine.transport.name,
  };
}

for (const client of ["client-2", "client-3"]) {
  for (const [where, args] of [["standalone", {}], ["mounted in axum", { mounted: "axum" }]]) {
    for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
      test(`a page talks over ${transports.join(", then ")} (${client}, ${where})`, async (t) => {
        const { page, types, url } = await visit(t, client, args);
        const many = Array.from({ length: 50 }, (_, n) => n + 1);
        const transport = transports.at(-1);
        const seen = await page.evaluate(talk, { url, transports });
        assert.deepEqual(seen, { same: true, binary: true, deep: true, many, transport });
        // Version 3 sends bytes as they are.
        const isBinary = client === "client-2" && transport === "polling";
        assert.equal(types.has("application/octet-stream"), isBinary, [...types].join());
      });
    }
  }
}
