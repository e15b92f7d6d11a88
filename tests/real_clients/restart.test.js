// A server that replaces itself by another process, while clients count what it sends.
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { TRANSPORTS, next, test, within } from "./harness.js";
import { Program } from "./program.js";

const CLIENTS = 50;
const RESTARTS = 2;

/** A client that notes the numbers that it misses, gets twice or in another order. */
class Counter {
  constructor(url, transport, problems) {
    this.socket = io(url, {
      transports: TRANSPORTS[transport],
      forceNew: true,
      autoUnref: true,
      reconnectionDelay: 20,
      reconnectionDelayMax: 100,
    });
    this.recoveries = 0;
    this.socket.on("number", (number) => {
      if (this.last !== undefined && number !== this.last + 1) problems.push(`${transport}: ${this.last}, ${number}`);
      this.last = number;
      this.wake?.();
    });
    this.socket.on("connect", () => {
      if (this.id && (!this.socket.recovered || this.socket.id !== this.id)) problems.push(`${transport}: began anew`);
      this.recoveries += this.socket.recovered;
      this.id = this.socket.id;
      this.wake?.();
    });
    this.socket.on("connect_error", (error) => problems.push(`${transport}: ${error.message}`));
  }

  /** Waits until the client has been recovered so many times, and has received another number since. */
  async recovered(times) {
    const changed = () => within(new Promise((resolve) => (this.wake = resolve)), "a client to come back");
    while (this.recoveries < times) await changed();
    const seen = this.last;
    while (this.last < seen + 2) await changed();
  }
}

test(`${CLIENTS} clients miss nothing while the server is restarted ${RESTARTS} times, and none is refused`, async (t) => {
  const server = new Program("rolling_restart");
  const clients = [];
  t.after(async () => {
    clients.forEach(({ socket }) => socket.disconnect());
    await server.kill();
  });
  await server.listen((port) => {
    server.spawn([], { ...process.env, PORT: `${port}` });
  }, /^listening on (?<port>\d+)$/);
  const problems = [];
  const transports = Object.keys(TRANSPORTS);
  for (let at = 0; at < CLIENTS; at += 1) {
    clients.push(new Counter(`http://127.0.0.1:${server.port}`, transports[at % transports.length], problems));
  }
  await Promise.all(clients.map(({ socket }) => socket.connected || next(socket, "connect")));
  await Promise.all(clients.map((client) => client.recovered(0)));
  for (let restart = 1; restart <= RESTARTS; restart += 1) {
    const left = Promise.race(clients.map(({ socket }) => next(socket, "disconnect")));
    server.process.kill("SIGHUP");
    await left;
    // Nobody accepts now, and a client that comes waits.
    const late = new Counter(`http://127.0.0.1:${server.port}`, transports[restart % transports.length], problems);
    clients.push(late);
    await Promise.all(clients.slice(0, CLIENTS).map((client) => client.recovered(restart)));
    await late.recovered(0);
  }
  assert.deepEqual(problems, []);
});
