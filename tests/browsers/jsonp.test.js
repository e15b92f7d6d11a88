// A page of another origin that polls by scripts and forms, as the option `forceJSONP` has it.
import assert from "node:assert/strict";
import { Program, within } from "../real_clients/program.js";
import { serveClient } from "./client_page.js";
import { newPage, test } from "./harness.js";

/** The clients that have the option, with the options that their version needs of the server. */
const CLIENTS = [["client-2", { eio3: "on" }], ["client-3", {}]];

/** Starts a server, standalone or mounted, and opens a page of another origin that has this client. */
async function visit(t, client, args) {
  const server = new Program("real_client_server");
  const options = Object.entries({ jsonp: "on", ...args }).flatMap(([name, value]) => [`--${name}`, value]);
  await server.listen((port) => server.spawn(["--port", `${port}`, ...options]), /^listening on (?<port>\d+)$/);
  t.after(() => server.kill());
  const origin = await serveClient(t, client);
  const page = await newPage(t);
  const requests = [];
  page.on("request", (request) => {
    const { port, searchParams } = new URL(request.url());
    if (Number(port) === server.port) requests.push([request.resourceType(), request.method(), searchParams.get("j")]);
  });
  await page.goto(`${origin}/`);
  return { server, page, requests, url: `http://127.0.0.1:${server.port}` };
}

/** Runs in the page: connects, and returns what was acknowledged and received. */
async function talk(url) {
  const socket = window.io(url, { forceJSONP: true, transports: ["polling"], reconnection: false });
  window.socket = socket;
  await new Promise((resolve, reject) => socket.on("connect", resolve).on("connect_error", reject));
  const ask = (...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
  const text = "€ \u{1f41f} + % & = \"\\ \\n \\\\n \n \r\n \u2028\u2029 </script><!-- \u0001\u001e";
  const bytes = new Uint8Array(Array.from({ length: 256 }, (_, byte) => byte));
  const [echoed] = await ask("return", text);
  const [joined] = await ask("join bytes", bytes, bytes.buffer);
  const large = "x".repeat(100_000);
  const [returned] = await ask("return", large);
  // Several packets in one form, and their answers in few scripts.
  const many = await Promise.all(Array.from({ length: 50 }, (_, n) => ask("add", n, 1)));
  return {
    same: echoed === text,
    echoed,
    binary: new Uint8Array(joined).join() === [...bytes, ...bytes].join(),
    large: returned === large,
    many: many.flat(),
    id: socket.id,
    transport: socket.io.engine.transport.name,
  };
}

for (const [client, needs] of CLIENTS) {
  for (const [where, args] of [["standalone", {}], ["mounted in axum", { mounted: "axum" }]]) {
    test(`a page of another origin polls by scripts and forms (${client}, ${where})`, async (t) => {
      const { server, page, requests, url } = await visit(t, client, { ...needs, ...args });
      const { id, echoed, ...seen } = await page.evaluate(talk, url);
      const many = Array.from({ length: 50 }, (_, n) => n + 1);
      assert.deepEqual(seen, { same: true, binary: true, large: true, many, transport: "polling" }, echoed);
      // Nothing else was asked for, such as by `fetch`, which CORS would forbid.
      const kinds = new Set(requests.map(([type, method, j]) => `${type} ${method} ${j}`));
      assert.deepEqual([...kinds].sort(), ["document POST 0", "script GET 0"]);
      await page.evaluate(() => window.socket.disconnect());
      await server.line(new RegExp(`^disconnected / ${id} client namespace disconnect$`));
    });
  }

  test(`a server without the option refuses its scripts (${client})`, async (t) => {
    const { page, url } = await visit(t, client, { ...needs, jsonp: "off" });
    const error = page.evaluate((url) => new Promise((resolve) => {
      const socket = window.io(url, { forceJSONP: true, transports: ["polling"], reconnection: false });
      socket.on("connect_error", ({ message }) => resolve(message)).on("connect", () => resolve("connected"));
    }), url);
    assert.equal(await within(error, "the refusal"), "jsonp poll error");
  });
}
