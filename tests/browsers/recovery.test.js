// A page that loses its connection gets what it missed.
import assert from "node:assert/strict";
import { Program } from "../real_clients/program.js";
import { serveClient } from "./client_page.js";
import { newPage, test } from "./harness.js";

/** Runs in the page: one socket is away while another tells its room something. */
async function miss({ url, transports }) {
  const connected = (socket) =>
    new Promise((resolve, reject) => socket.once("connect", () => resolve(socket)).once("connect_error", reject));
  const open = () => connected(window.io(url, { transports, forceNew: true, reconnection: false }));
  const [listener, teller] = await Promise.all([open(), open()]);
  const [sent, told] = [[], []];
  let heard = () => {};
  listener.on("told", (number) => {
    told.push(number);
    heard();
  });
  const tell = () => {
    sent.push(sent.length);
    return teller.emitWithAck("tell everybody in room", "news", sent.at(-1));
  };
  const hearAll = () =>
    new Promise((resolve) => {
      heard = () => told.length >= sent.length && resolve();
      heard();
    });
  await listener.emitWithAck("join", "news");
  await tell();
  await hearAll();
  const { id } = listener;
  const gone = new Promise((resolve) => listener.once("disconnect", resolve));
  listener.io.engine.close();
  const reason = await gone;
  // Until the server knows, and once more.
  while ((await tell()) > 0);
  await tell();
  await connected(listener.connect());
  const isSame = listener.recovered && listener.id === id;
  if (isSame) {
    await tell();
    await hearAll();
  }
  [listener, teller].forEach((socket) => socket.disconnect());
  return { reason, isSame, sent, told };
}

for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
  test(`a page gets what it missed over ${transports.join(", then ")}`, async (t) => {
    const origin = await serveClient(t, "client-of-the-cdn");
    const server = new Program("real_client_server");
    const args = ["--origin", origin, "--recovery", "on"];
    await server.listen((port) => server.spawn(["--port", `${port}`, ...args]), /^listening on (?<port>\d+)$/);
    t.after(() => server.kill());
    const page = await newPage(t);
    await page.goto(`${origin}/`);
    const url = `http://127.0.0.1:${server.port}`;
    const { reason, isSame, sent, told } = await page.evaluate(miss, { url, transports });
    assert.equal(reason, "forced close");
    assert.ok(isSame, "it has its id again");
    assert.deepEqual(told, sent);
  });
}
