// The example client_terminal, as a program in a pipe.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Program } from "../real_clients/program.js";
import { World, test, within } from "./harness.js";

async function start(t, args = [], prepare = () => {}) {
  const world = new World(t, "tokio", "upgrade");
  await world.serve({}, prepare);
  const terminal = new Program("client_terminal");
  t.after(() => terminal.kill());
  terminal.spawn([...args, `http://127.0.0.1:${world.port}`]);
  terminal.say = (line) => terminal.process.stdin.write(`${line}\n`);
  terminal.told = async (type) => {
    const [line] = await terminal.line(new RegExp(`^{.*"type":"${type}".*$`));
    return JSON.parse(line);
  };
  return { world, terminal };
}

test("events, answers and namespaces are printed as lines of JSON", async (t) => {
  const { terminal, world } = await start(t, ["--json", "--transport", "websocket", "--auth", '{"token":"x"}'], (io) => {
    io.on("connection", (socket) => {
      socket.on("add", (a, b, answer) => answer(a + b));
      socket.on("many words", (...args) => socket.emit("said", socket.handshake.auth, ...args));
    });
    io.of("/chat").on("connection", (socket) => socket.emit("welcome", null, [1]));
  });
  const { id, namespace } = await terminal.told("connect");
  assert.deepEqual([world.io.of("/").sockets.has(id), namespace], [true, "/"]);
  terminal.say("?add 2 3");
  assert.deepEqual((await terminal.told("answer")).args, [5]);
  terminal.say('"many words" {"a": [1, "two"]} null');
  assert.deepEqual((await terminal.told("event")).args, [{ token: "x" }, { a: [1, "two"] }, null]);
  const asked = [...world.io.of("/").sockets.values()][0].timeout(5000).emitWithAck("really?");
  const { answer } = await terminal.told("event");
  terminal.say(`/answer ${answer} "yes"`);
  assert.equal(await asked, "yes");
  terminal.say("/connect /chat");
  assert.deepEqual((await terminal.told("event")).args, [null, [1]]);
  terminal.say("/status");
  assert.equal((await terminal.told("status")).transport, "websocket");
  terminal.say("add [1");
  assert.match((await terminal.told("error")).message, /^not JSON/);
  terminal.say("/quit");
  assert.equal((await within(terminal.exited, "the end"))[0], 0);
});

test("events from a pipe are acknowledged before the program ends", async (t) => {
  const { terminal } = await start(t, ["--json"], (io) => {
    io.on("connection", (socket) => socket.on("slow", (answer) => setTimeout(answer, 200, "done")));
  });
  terminal.process.stdin.end("?slow\n");
  assert.deepEqual((await terminal.told("answer")).args, ["done"]);
  assert.equal((await within(terminal.exited, "the end"))[0], 0);
});

test("control characters of a server do not reach the terminal", async (t) => {
  const { terminal } = await start(t, [], (io) => {
    io.on("connection", (socket) => socket.emit("x\u001b[2J", "\u009b2J"));
  });
  const [line] = await terminal.line(/^\/ x/);
  assert.doesNotMatch(line, /[\u001b\u009b]/);
});

test("a server that cannot be reached ends the program with an error", async (t) => {
  const { world, terminal } = await start(t);
  await terminal.line(/connected as/);
  const { port } = world;
  await world.stop();
  const alone = new Program("client_terminal");
  t.after(() => alone.kill());
  alone.spawn(["--once", `http://127.0.0.1:${port}`]);
  const [code] = await within(once(alone.process, "exit"), "the end");
  assert.equal(code, 1);
});
