// The program in examples/client_terminal, in a pipe and at a terminal.
import assert from "node:assert/strict";
import { writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Program } from "../real_clients/program.js";
import { World, test, within } from "./harness.js";

/** Starts a server. */
async function serve(t, prepare = () => {}) {
  const world = new World(t, "tokio", "upgrade");
  await world.serve({}, prepare);
  return world;
}

/** Starts the program; arguments in front of the URL are options, those behind it are lines. */
function run(t, url, options = [], lines = []) {
  const terminal = new Program("../sockeye");
  t.after(() => terminal.kill());
  terminal.spawn([...options, url, ...lines]);
  terminal.say = (line) => terminal.process.stdin.write(`${line}\n`);
  terminal.told = async (type) => {
    const { input } = await terminal.line(new RegExp(`^{"type":"${type}"`));
    return JSON.parse(input);
  };
  terminal.code = async () => (await within(terminal.exited, "the end"))[0];
  return terminal;
}

async function start(t, options = [], prepare = () => {}, lines = []) {
  const world = await serve(t, prepare);
  return { world, terminal: run(t, `http://127.0.0.1:${world.port}`, options, lines) };
}

const adding = (io) => io.on("connection", (socket) => socket.on("add", (a, b, answer) => answer(a + b)));

test("events, answers and namespaces are printed as lines of JSON", async (t) => {
  const { terminal, world } = await start(t, ["--json", "--transport", "websocket", "-a", "token=x"], (io) => {
    adding(io);
    io.on("connection", (socket) => {
      socket.on("many words", (...args) => socket.emit("said", socket.handshake.auth, ...args));
    });
    io.of("/chat").on("connection", (socket) => socket.emit("welcome", null, [1]));
  });
  const { id, namespace } = await terminal.told("connect");
  assert.deepEqual([world.io.of("/").sockets.has(id), namespace], [true, "/"]);
  terminal.say("?add 2 3");
  const { args, line } = await terminal.told("answer");
  assert.deepEqual([args, line], [[5], 1]);
  terminal.say('"many words" {"b": [1, "two"], "a": 0} null bare \'in quotes\'');
  const said = await terminal.line(/"event":"said"/);
  assert.match(said.input, /"args":\[{"token":"x"},{"b":\[1,"two"\],"a":0},null,"bare","in quotes"\]/);
  const asked = [...world.io.of("/").sockets.values()][0].timeout(5000).emitWithAck("really?");
  const { answer } = await terminal.told("event");
  terminal.say("/pending");
  assert.deepEqual((await terminal.told("pending")).answers, [{ answer, event: "really?" }]);
  terminal.say(`/answer ${answer} yes`);
  assert.equal(await asked, "yes");
  terminal.say("/connect chat");
  assert.deepEqual((await terminal.told("event")).args, [null, [1]]);
  terminal.say("/status");
  const status = await terminal.told("status");
  assert.deepEqual([status.transport, status.namespace, status.line], ["websocket", "/chat", 6]);
  terminal.say("/quit");
  assert.equal(await terminal.code(), 0);
});

test("bytes are sent from a file", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "sockeye-"));
  t.after(() => rm(folder, { recursive: true }));
  const file = path.join(folder, "some bytes");
  await writeFile(file, Buffer.from([0, 255, 7]));
  const { terminal } = await start(
    t,
    ["--json"],
    (io) => io.on("connection", (socket) => socket.on("save", (bytes, answer) => answer([...bytes]))),
    [`?save @'${file}'`],
  );
  assert.deepEqual((await terminal.told("answer")).args, [[0, 255, 7]]);
  assert.equal(await terminal.code(), 0);
});

test("received bytes are shown as bytes", async (t) => {
  const prepare = (io) =>
    io.on("connection", (socket) => socket.emit("bytes", Buffer.from([0, 255, 7]), { in: [Buffer.from("hi")] }));
  const { world, terminal } = await start(t, ["--until", "bytes"], prepare);
  await terminal.line(/^[\d:.]{12} ← \/ bytes <3 bytes: 00 ff 07> {"in":\[<2 bytes>\]}$/);
  assert.equal(await terminal.code(), 0);
  const json = run(t, `http://127.0.0.1:${world.port}`, ["--json", "--until", "bytes"]);
  const { args, attachments } = await json.told("event");
  const placeholder = (num) => ({ _placeholder: true, num });
  assert.deepEqual(args, [placeholder(0), { in: [placeholder(1)] }]);
  assert.deepEqual(attachments.map((it) => [...Buffer.from(it, "base64")]), [[0, 255, 7], [104, 105]]);
  assert.equal(await json.code(), 0);
});

test("a program that waits for an event ends with it, or fails in time", async (t) => {
  const { world, terminal } = await start(
    t,
    ["--json", "--until", "done", "--event", "step"],
    (io) =>
      io.on("connection", (socket) =>
        socket.on("go", () => ["noise", "step", "noise", "done"].forEach((event) => socket.emit(event))),
      ),
    ["go"],
  );
  assert.equal(await terminal.code(), 0);
  const events = terminal.lines.map((line) => JSON.parse(line)).filter(({ type }) => type === "event");
  assert.deepEqual(events.map(({ event }) => event), ["step", "done"]);
  const late = run(t, `http://127.0.0.1:${world.port}`, ["--json", "--until", "done", "--timeout", "0.1"]);
  assert.equal((await late.told("error")).message, "done did not arrive within 100ms");
  assert.equal(await late.code(), 1);
});

test("each answer has the line that asked, in whatever order they come", async (t) => {
  const { terminal } = await start(t, ["--json"], (io) =>
    io.on("connection", (socket) => {
      let slow;
      socket.on("first", (answer) => (slow = answer));
      socket.on("second", (answer) => (answer("second"), slow("first")));
    }),
  );
  terminal.process.stdin.end("# a comment\n?first\n\n?second\n");
  const [one, two] = [await terminal.told("answer"), await terminal.told("answer")];
  assert.deepEqual([one.line, one.args, two.line, two.args], [4, ["second"], 2, ["first"]]);
  assert.equal(await terminal.code(), 0);
});

test("lines of the command line are done one after the other, and the program ends", async (t) => {
  const { terminal } = await start(t, [], adding, ["?add 2 3", "note {\"b\":1}"]);
  await terminal.line(/^[\d:.]{12} ● \/ connected as /);
  await terminal.line(/^[\d:.]{12} → \/ \?add 2 3$/);
  await terminal.line(/^[\d:.]{12} → \/ note {"b":1}$/);
  await terminal.line(/^[\d:.]{12} ← \/ add answered 5 \(\d+ ms\)$/);
  assert.equal(await terminal.code(), 0);
});

test("an event that the server sends before its last answer is shown", async (t) => {
  const { terminal } = await start(
    t,
    ["--json"],
    (io) => io.on("connection", (socket) => socket.on("go", (answer) => (socket.emit("before"), answer()))),
    ["?go"],
  );
  assert.equal(await terminal.code(), 0);
  await terminal.told("event");
});

test("a program that waits shows events after its last line", async (t) => {
  const { world, terminal } = await start(t, ["--json", "--wait", "100"], (io) =>
    io.on("connection", (socket) => socket.on("subscribe", () => socket.emit("news"))), ["subscribe"]);
  assert.equal((await terminal.told("event")).event, "news");
  await world.stop();
  assert.equal(await terminal.code(), 3);
});

test("a muted event is hidden until it is shown again", async (t) => {
  const { terminal } = await start(t, ["--json"], (io) =>
    io.on("connection", (socket) => socket.on("go", (answer) => (socket.emit("noise"), socket.emit("news"), answer()))),
  );
  terminal.say("/mute noise");
  assert.deepEqual((await terminal.told("muted")).events, ["noise"]);
  terminal.say("?go");
  assert.equal((await terminal.told("event")).event, "news");
  terminal.say("/mute noise");
  assert.deepEqual((await terminal.told("muted")).events, []);
  terminal.process.stdin.end("?go\n");
  assert.equal((await terminal.told("event")).event, "noise");
  assert.equal(await terminal.code(), 0);
});

test("lines from a file say which of them is wrong, and the others are done", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "sockeye-"));
  t.after(() => rm(folder, { recursive: true }));
  const file = path.join(folder, "lines");
  await writeFile(file, "?add 1 1\nadd 1 {x}\n/nonsense\n/answer 7\n?add 2 2\n");
  const { terminal } = await start(t, ["--json", "--file", file], adding);
  const errors = [await terminal.told("error"), await terminal.told("error"), await terminal.told("error")];
  assert.deepEqual(errors.map((error) => error.line), [2, 3, 4]);
  assert.match(errors[0].message, /^argument 2: not JSON: key must be a string/);
  assert.match(errors[1].message, /^unknown command \/nonsense/);
  assert.deepEqual([(await terminal.told("answer")).args, (await terminal.told("answer")).args], [[2], [4]]);
  assert.equal(await terminal.code(), 1);
});

test("an event that is not answered in time is a failure", async (t) => {
  const { terminal } = await start(t, ["--json", "--timeout", "0.1"], () => {}, ["?silence"]);
  const { line, event, message } = await terminal.told("no_answer");
  assert.deepEqual([line, event, message], [1, "silence", "operation has timed out"]);
  assert.equal(await terminal.code(), 1);
});

test("a server that cannot be reached, or refuses, or disconnects ends a script with another code", async (t) => {
  const { world, terminal } = await start(t, ["--json"], (io) => {
    io.of("/private").use((socket, next) => next(Object.assign(new Error("no"), { data: { why: "not you" } })));
    io.of("/leaves").on("connection", (socket) => socket.disconnect());
  });
  const { port } = world;
  await terminal.told("connect");
  const refused = run(t, `http://127.0.0.1:${port}/private`, ["--json"], ["hello"]);
  const { message, data } = await refused.told("connect_error");
  assert.deepEqual([message, data, await refused.code()], ["no", { why: "not you" }, 3]);
  const second = run(t, `http://127.0.0.1:${port}`, ["--json", "-n", "private"], ["hello"]);
  assert.deepEqual([(await second.told("connect_error")).namespace, await second.code()], ["/private", 3]);
  const left = run(t, `http://127.0.0.1:${port}/leaves`, ["--json"]);
  assert.deepEqual([(await left.told("disconnect")).reason, await left.code()], ["io server disconnect", 3]);
  await world.stop();
  assert.deepEqual([(await terminal.told("disconnect")).namespace, await terminal.code()], ["/", 3]);
  const alone = run(t, `http://127.0.0.1:${port}`);
  await alone.line(/! \/ not connected: /);
  assert.equal(await alone.code(), 3);
});

test("a wrong command line is explained", async (t) => {
  for (const args of [["--nonsense"], ["--transport", "smoke"], ["--auth", "{"], ["--file", "/no/such/file"]]) {
    const program = run(t, "http://127.0.0.1:1", args);
    assert.equal(await program.code(), 2);
  }
  const help = run(t, "http://127.0.0.1:1", ["--help"]);
  await help.line(/^examples:$/);
  assert.equal(await help.code(), 0);
});

test("a program that watches connects again, and shows events", async (t) => {
  const { world, terminal } = await start(t, ["--json", "--watch"], (io) =>
    io.on("connection", (socket) => socket.emit("news", 1)),
  );
  terminal.process.stdin.end("hello\n");
  assert.deepEqual((await terminal.told("event")).args, [1]);
  assert.equal((await terminal.told("emit")).line, 1);
  await world.stop();
  await terminal.told("disconnect");
  await world.serve({}, (io) => io.on("connection", (socket) => socket.emit("news", 2)));
  assert.deepEqual((await terminal.told("event")).args, [2]);
  assert.equal((await terminal.told("reconnect")).attempts > 0, true);
  terminal.process.kill("SIGINT");
  assert.deepEqual(await within(terminal.exited, "the end"), [null, "SIGINT"]);
});

test("control characters of a server do not reach the terminal", async (t) => {
  const { terminal } = await start(t, [], (io) => {
    io.on("connection", (socket) => socket.emit("x\u001b[2J", "\u009b2J"));
  });
  const { input } = await terminal.line(/← \/ x/);
  assert.doesNotMatch(input, /[\u001b\u009b]/);
});

test("a trace shows the packets of both protocols in both directions", async (t) => {
  const { terminal } = await start(t, ["--trace"], (io) => {
    adding(io);
    io.on("connection", (socket) => socket.on("bytes", (bytes, answer) => answer(bytes)));
  }, ["?add 2 3", "?bytes @/dev/null", "x ".padEnd(1000, "long")]);
  const time = "[\\d:.]{12}";
  const lines = [
    "· opening a connection by polling",
    '« polling open  0{"sid":".*',
    "· the connection is open",
    "» polling message connect /  40",
    '« polling message connect /  40{"sid":".*"}',
    '» (polling|websocket) message event / add #\\d+  42\\d+\\["add",2,3\\]',
    "« (polling|websocket) message ack / #\\d+  43\\d+\\[5\\]",
    '» (polling|websocket) message binary_event / bytes #\\d+  451-.*',
    "» (polling|websocket) message  <0 bytes>",
    '» (polling|websocket) message event / x  42\\["x","longlong.*… \\(\\d+ more bytes\\)',
    "· the connection ended: io client disconnect",
  ];
  for (const line of lines) {
    await terminal.line(new RegExp(`^${time} ${line}$`));
  }
  assert.equal(await terminal.code(), 0);
});

test("a trace in JSON has the parts of each packet, and is switched on and off by a command", async (t) => {
  const { terminal } = await start(t, ["--json", "--transport", "websocket"]);
  await terminal.told("connect");
  terminal.say("/trace");
  assert.equal((await terminal.told("trace")).on, true);
  terminal.say("note 1");
  const { time, ...packet } = await terminal.told("packet");
  assert.ok(Date.parse(time));
  assert.deepEqual(packet, {
    type: "packet", direction: "out", transport: "websocket", packet: "message",
    kind: "event", namespace: "/", id: null, event: "note", raw: '42["note",1]',
  });
  terminal.say("/trace");
  assert.equal((await terminal.told("trace")).on, false);
  terminal.say("/quit");
  assert.equal(await terminal.code(), 0);
});
