// Runs a program of the examples as a process, and waits with a deadline.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { once } from "node:events";
import path from "node:path";
import * as node from "node:test";

/** The deadline of a wait for something that should come at once, in milliseconds. */
export const DEADLINE = 20_000;

/** The deadline of a test, in milliseconds. In Node.js 20, the runner's own option applies to a whole file. */
const TEST_DEADLINE = 120_000;

/** The last of the ports that browsers and `fetch` refuse: https://fetch.spec.whatwg.org/#port-blocking */
const LAST_REFUSED_PORT = 10_080;

const root = path.resolve(import.meta.dirname, "../..");
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target");

/** Registers a test with a deadline. */
export function test(name, run) {
  return node.test(name, { timeout: TEST_DEADLINE }, run);
}

export class Program {
  constructor(example) {
    this.path = path.join(target, "debug/examples", example);
    this.lines = [];
    this.port = 0;
  }

  /** Starts a server with `spawn(port)`: the first time on a free port that browsers accept, later on the same one.
   * Returns the match of the line in which it prints its `port`. */
  async listen(spawn, pattern) {
    for (;;) {
      spawn(this.port);
      const listening = await this.line(pattern);
      this.port = Number(listening.groups.port);
      if (this.port > LAST_REFUSED_PORT) return listening;
      await this.kill();
      this.port = 0;
    }
  }

  spawn(args, env = process.env) {
    this.process = spawn(this.path, args, { stdio: ["pipe", "pipe", "inherit"], env });
    this.exited = once(this.process, "exit");
    this.output = createInterface(this.process.stdout);
    this.output.setMaxListeners(0);
    this.output.on("line", (line) => this.lines.push(line));
  }

  /** Kills the process. */
  async kill() {
    this.process.kill("SIGKILL");
    await within(this.exited, "the end of the server");
  }

  /** Asks the server to close gracefully, and returns its exit code. */
  async close() {
    this.process.stdin.end();
    const [code] = await within(this.exited, "the server to close");
    return code;
  }

  /** Waits for a line of the server's output, and takes it out, so that the next call waits for another one. */
  async line(pattern) {
    const end = Date.now() + DEADLINE;
    for (;;) {
      const at = this.lines.findIndex((line) => pattern.test(line));
      if (at >= 0) return pattern.exec(this.lines.splice(at, 1)[0]);
      const what = `a line like ${pattern}, the last are ${JSON.stringify(this.lines.slice(-20))}`;
      await within(once(this.output, "line"), what, end - Date.now());
    }
  }
}

/** Waits for a promise, with a deadline. */
export async function within(promise, what, time = DEADLINE) {
  let timer;
  const deadline = new Promise((_, reject) => {
    const error = new Error(`timed out waiting for ${what}`);
    timer = setTimeout(() => reject(error), time);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
