// A program of the examples as a process of its own, and waiting with a deadline.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { once } from "node:events";
import path from "node:path";
import * as node from "node:test";

/** How long anything may take that should come at once. */
export const DEADLINE = 20_000;

/** How long a test may take. The runner's own option holds for a whole file, in Node.js 20. */
const TEST_DEADLINE = 120_000;

/** The last of the ports that browsers and `fetch` refuse: https://fetch.spec.whatwg.org/#port-blocking */
const LAST_REFUSED_PORT = 10_080;

const root = path.resolve(import.meta.dirname, "../..");
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target");

/** A test that does not wait for ever, whatever it waits for. */
export function test(name, run) {
  return node.test(name, { timeout: TEST_DEADLINE }, run);
}

export class Program {
  constructor(example) {
    this.path = path.join(target, "debug/examples", example);
    this.lines = [];
    this.port = 0;
  }

  /** Starts a server by `spawn(port)`: the first time on a port that is free and that browsers use, then on the same.
   * Gives the line in which it names its `port`. */
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

  /** Ends the process at once. */
  async kill() {
    this.process.kill("SIGKILL");
    await within(this.exited, "the end of the server");
  }

  /** Asks the server to close gracefully, and gives its exit code. */
  async close() {
    this.process.stdin.end();
    const [code] = await within(this.exited, "the server to close");
    return code;
  }

  /** Waits for a line of the server's output. Lines are consumed, so that the next one can be waited for. */
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

/** Waits, but not for ever. */
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
