// Our client with the server of python-socketio.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { testEach, within } from "../harness.js";

const python = process.env.PYTHON ?? "python3";

/** Starts the server, and our client, which shows the tokens. */
async function start(world, tokens = [], options = []) {
  const server = spawn(python, [path.join(import.meta.dirname, "server.py")], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(server, "exit");
  world.t.after(async () => {
    server.kill("SIGKILL");
    await exited;
  });
  const [line] = await within(once(createInterface(server.stdout), "line"), "the server");
  world.scheme = "http";
  const port = Number(/^listening on (\d+)$/.exec(line)[1]);
  const args = tokens.flatMap((token) => ["--token", token]);
  return world.client([...args, ...options, "--extra-header", "X-Who=me"], "", port);
}

testEach("events go both ways, in order, with what the client shows", async (world, way) => {
  const client = await start(world, ["good"]);
  await client.line(/^connect \/ /);
  await client.line(/^event \/ welcome \["good","me"\]$/);
  for (let i = 0; i < 200; i++) client.tell("emit", "/", "again", i, `${i}é`);
  const numbers = [];
  for (let i = 0; i < 200; i++) {
    const [, number, text] = await client.line(/^event \/ again \[(\d+),"(.*)"\]$/);
    assert.equal(text, `${number}é`);
    numbers.push(Number(number));
  }
  // The server starts a task for each event: they begin in order.
  assert.deepEqual(numbers, Array.from({ length: 200 }, (_, i) => i));
  await within(transport(client, way === "polling" ? "polling" : "websocket"), "the transport");
});

/** Waits until the server sees this transport. */
async function transport(client, wanted) {
  do client.tell("ask", "/", "transport");
  while ((await client.answer("transport")) !== wanted);
}

testEach("acknowledgements go both ways", async (world) => {
  const client = await start(world);
  client.tell("ask", "/", "answer", { a: [1, null, "é"] });
  assert.deepEqual(await client.answer("answer"), { a: [1, null, "é"] });
  client.tell("ask", "/", "ask_me", { b: [2] });
  assert.deepEqual(await client.answer("ask_me"), { b: [2] });
});

testEach("a question that nobody answers is given up", async (world) => {
  const client = await start(world, [], ["--ack-timeout", "100"]);
  client.tell("ask", "/", "nobody");
  await client.line(/^no answer nobody operation has timed out$/);
});

testEach("binary goes both ways, with and without acknowledgement", async (world) => {
  const client = await start(world);
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 200_000]) {
    client.tell("ask", "/", "binary", size);
    assert.deepEqual(await client.answer("binary"), [true, true]);
  }
});

testEach("a refused client is told why, and is let in with other auth", async (world) => {
  const client = await start(world, ["bad", "worse", "good"]);
  await client.line(/^connect_error \/ \["not you",null\]$/);
  client.tell("connect", "/");
  await client.line(/^connect_error \/ \["nor you",{"code":7}\]$/);
  client.tell("connect", "/");
  await client.line(/^connect \/ /);
  // The answer to this one is a string, and no object.
  client.tell("connect", "/none");
  await client.line(/^connect_error \/none \["Unable to connect",null\]$/);
});

testEach("a second namespace is over the same connection, and the server ends the first", async (world) => {
  const client = await start(world);
  client.tell("connect", "/chat");
  client.tell("ask", "/chat", "where");
  assert.equal(await client.answer("where"), "/chat");
  client.tell("emit", "/", "leave_me");
  await client.line(/^disconnect \/ io server disconnect$/);
  client.tell("ask", "/chat", "where");
  assert.equal(await client.answer("where"), "/chat");
  client.tell("disconnect", "/chat");
  await client.line(/^disconnect \/chat io client disconnect$/);
});

testEach("a namespace that is left and joined again at once does not hurt the other", async (world) => {
  const client = await start(world);
  await client.line(/^connect \/ /);
  client.tell("connect", "/chat");
  for (let round = 0; round < 5; round++) {
    await client.line(/^connect \/chat /);
    client.tell("rejoin", "/chat");
    await client.line(/^disconnect \/chat io client disconnect$/);
  }
  await client.line(/^connect \/chat /);
  client.tell("ask", "/chat", "where");
  assert.equal(await client.answer("where"), "/chat");
  client.tell("ask", "/", "answer", 1);
  assert.equal(await client.answer("answer"), 1);
  assert.deepEqual(client.lines.filter((line) => line.startsWith("disconnect ")), []);
});
