// Starts servers of Redis. It needs no package.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { within } from "../../real_clients/program.js";

/** The program, or undefined if it is missing. */
export const redisServer = [process.env.REDIS_SERVER, "redis-server"].find((program) => {
  return program && spawnSync(program, ["--version"]).status === 0;
});
export const skip = redisServer ? false : "redis-server is missing: install it, or set REDIS_SERVER=/path/of/redis-server";

/** The distance to the port at which a server of a Redis Cluster listens for the others. */
const BUS = 10_000;

/** Returns a port that is free now, as is the one for the other servers of a Redis Cluster. */
async function freePort() {
  for (;;) {
    const port = await listen(0);
    if (port + BUS < 65_536 && (await listen(port + BUS).catch(() => 0))) return port;
  }
}

/** Listens for a moment, and returns the port. */
async function listen(port) {
  const server = createServer();
  await once(server.listen(port, "127.0.0.1"), "listening");
  const chosen = server.address().port;
  server.close();
  await once(server, "close");
  return chosen;
}

/** A server, which is killed at the end of the test. */
export class Redis {
  /** Starts a server without persistence, in a folder of its own. */
  static async start(args = []) {
    const redis = new Redis();
    redis.args = args;
    redis.folder = await mkdtemp(path.join(tmpdir(), "sockeye-redis-"));
    for (let attempts = 1; ; attempts++) {
      redis.port = await freePort();
      redis.url = `redis://127.0.0.1:${redis.port}`;
      try {
        await redis.spawn();
        return redis;
      } catch (error) {
        // It ends at once if another program has taken the port by now.
        if (redis.process.exitCode === null || attempts === 10) {
          await redis.end();
          throw error;
        }
      }
    }
  }

  async spawn() {
    const fixed = ["--port", this.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", this.folder];
    this.process = spawn(redisServer, [...fixed, ...this.args].map(String), { stdio: ["ignore", "pipe", "inherit"] });
    this.exited = once(this.process, "exit");
    let log = "";
    const ready = new Promise((resolve) => {
      this.process.stdout.on("data", (data) => {
        log += data;
        if (log.includes("Ready to accept connections")) resolve();
      });
    });
    const failed = this.exited.then(() => Promise.reject(new Error(`redis-server ended: ${log}`)));
    failed.catch(() => {});
    await within(Promise.race([ready, failed]), "redis-server");
  }

  async kill() {
    this.process.kill("SIGKILL");
    await within(this.exited, "the end of redis-server");
  }

  async end() {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}
