// Clients of every version that can be installed, in JavaScript and Python, in one room at once.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import path from "node:path";
import io2 from "socket.io-client-v2";
import { io as io3 } from "socket.io-client-v3";
import { io as io4 } from "socket.io-client";
import { Inbox, TRANSPORTS, next, start, test, within } from "../harness.js";

const script = path.join(import.meta.dirname, "room.py");
const PYTHONS = { 5: process.env.PYTHON ?? "python3" };
if (process.env.PYTHON_OLD) PYTHONS["4.6"] = process.env.PYTHON_OLD;
const WAYS = ["polling", "websocket", "upgrading"];

/** A client in JavaScript, which prints nothing and is asked to speak by name like the others. */
async function javascript(t, url, name, io, transport) {
  const client = io(url, { transports: TRANSPORTS[transport], forceNew: true, reconnection: false, autoUnref: true });
  t.after(() => client.io.engine?.close());
  await next(client, "connect");
  const heard = new Inbox({ on: (_, push) => {
    client.on("told", (text) => push(`told ${text}`));
    client.on("bytes", (data, size) => push(`bytes ${data.equals(Buffer.alloc(size, 1)) ? size : "broken"}`));
  } }, name, (line) => line);
  client.on("question", (question, answer) => answer(`${question} ${name}`, Buffer.from(name)));
  client.on("told", (text) => text === name && client.emit("tell everybody in room", "room", `${name} speaks`));
  await within(new Promise((resolve) => client.emit("join", "room", resolve)), "the answer to join");
  return { client, heard };
}

async function python(t, url, name, interpreter, kind, transport) {
  const child = spawn(interpreter, [script, url, transport, kind, name], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const heard = new Inbox(createInterface({ input: child.stdout }), "line", (line) => line);
  assert.equal(await heard.next(), "joined");
  return { heard };
}

test("clients of every version and language hear each other in one room", async (t) => {
  // AsyncClient of python-socketio 4 waits for a ping before it ends.
  const { url } = await start(t, { eio3: "on", "ping-interval": 1000 });
  const opening = {};
  for (const transport of WAYS) {
    for (const [version, io] of Object.entries({ 2: io2, 3: io3, 4: io4 })) {
      const name = `js ${version} ${transport}`;
      opening[name] = javascript(t, url, name, io, transport);
    }
    for (const [version, interpreter] of Object.entries(PYTHONS)) for (const kind of ["Client", "AsyncClient"]) {
      const name = `python ${version} ${kind} ${transport}`;
      opening[name] = python(t, url, name, interpreter, kind, transport);
    }
  }
  const names = Object.keys(opening);
  const members = await Promise.all(Object.values(opening));
  const { client } = members[names.indexOf("js 4 upgrading")];
  const ask = (event, ...args) => client.timeout(20_000).emitWithAck(event, ...args);
  const hear = async (line) => {
    for (const [at, { heard }] of members.entries()) assert.equal(await heard.next(), line, names[at]);
  };

  for (const name of names) {
    assert.equal(await ask("tell everybody in room", "room", name), names.length);
    await hear(`told ${name}`);
    await hear(`told ${name} speaks`);
  }
  await ask("tell room bytes", "room", 3000);
  // To the room, then to all.
  await hear("told 3000");
  await hear("bytes 3000");
  const answers = await ask("ask all", "who?", 20_000);
  assert.deepEqual(answers.map(({ answer }) => answer).sort(), names.map((name) => `who? ${name}`).sort());
  assert.equal(await ask("tell everybody in room", "room", "go"), names.length);
  for (const [at, { heard }] of members.entries()) {
    assert.equal(await heard.next(), "told go", names[at]);
    if (names[at].startsWith("python")) assert.equal(await heard.next(), "done", names[at]);
  }
});
