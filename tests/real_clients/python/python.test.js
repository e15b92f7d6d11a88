// The clients of python-socketio with our server, standalone and mounted.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { start, test, within } from "../harness.js";

const script = path.join(import.meta.dirname, "client.py");

const PYTHON = process.env.PYTHON ?? "python3";

/** The interpreters with the versions of the package, their serializers, and what these need of the server. */
const VERSIONS = [
  [PYTHON, "5", "default", {}],
  [PYTHON, "5", "msgpack", { parser: "msgpack" }],
];
// When its connection has ended, AsyncClient of this version waits until it would have sent the next ping.
const OLD = { eio3: "on", "ping-interval": 1000 };
if (process.env.PYTHON_OLD) VERSIONS.push([process.env.PYTHON_OLD, "4.6", "default", OLD]);

for (const [python, version, serializer, args] of VERSIONS) for (const kind of ["Client", "AsyncClient"]) {
  for (const transport of ["polling", "websocket", "upgrading"]) {
    test(`${kind} of python-socketio ${version} exchanges everything that it can (${transport}, ${serializer})`, async (t) => {
      const server = await start(t, args);
      const client = spawn(python, [script, server.url, transport, kind, serializer], { stdio: ["ignore", "pipe", "pipe"] });
      t.after(() => client.kill("SIGKILL"));
      let output = "";
      for (const stream of [client.stdout, client.stderr]) stream.on("data", (data) => (output += data));
      const [code] = await within(once(client, "close"), "the client", 100_000);
      assert.equal(code, 0, output);
      assert.match(output, /^done$/m);
    });
  }
}
