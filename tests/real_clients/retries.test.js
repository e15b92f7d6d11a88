// Events that the client sends until they are acknowledged, and that the server handles once.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, next, testEach } from "./harness.js";

let count = 0;

/** As in docs/guide/delivery.md. Returns the arguments of the callback. */
function emitOnce(socket, event, ...args) {
  return new Promise((resolve) => {
    socket.emit(event, ...args, { idempotencyKey: `page.${count++}` }, (...answer) => resolve(answer));
  });
}

/** Waits until the handler was called so many times. */
async function calls(other, number) {
  for (;;) {
    const [called] = await ask(other, "counts");
    if (called >= number) return;
    await sleep(5);
  }
}

testEach("tries of one event get one answer, also over another connection", {}, async (server) => {
  const options = { namespace: "/orders", retries: 1000, ackTimeout: 30, reconnection: true, reconnectionDelay: 10 };
  const client = await server.connect(options);
  const other = await server.connect({ namespace: "/orders" });
  const first = emitOnce(client, "order");
  await calls(other, 3);
  const back = next(client, "connect");
  client.io.engine.close();
  await back;
  const [called] = await ask(other, "counts");
  await calls(other, called + 2);
  other.emit("release");
  assert.deepEqual(await first, [null, 1]);
  other.emit("release");
  assert.deepEqual(await emitOnce(client, "order"), [null, 2]);
  assert.equal((await ask(other, "counts"))[1], 2);
});
