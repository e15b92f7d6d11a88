// The clients of python-socketio with our server, standalone and mounted.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { start, test, within } from "../harness.js";

const python = process.env.PYTHON ?? "python3";
const script = path.join(import.meta.dirname, "client.py");

for (const kind of ["Client", "AsyncClient"]) {
  for (const transport of ["polling", "websocket", "upgrading"]) {
    test(`python-socketio's ${kind} exchanges everything that it can (${transport})`, async (t) => {
      const server = await start(t);
      const client = spawn(python, [script, server.url, transport, kind], { stdio: ["ignore", "pipe", "pipe"] });
      t.after(() => client.kill("SIGKILL"));
      let output = "";
      for (const stream of [client.stdout, client.stderr]) stream.on("data", (data) => (output += data));
      const [code] = await within(once(client, "close"), "the client", 100_000);
      assert.equal(code, 0, output);
      assert.match(output, /^done$/m);
    });
  }
}
