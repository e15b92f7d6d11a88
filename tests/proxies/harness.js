// Runs nginx, HAProxy and Apache with the configurations of the guide, in which only the ports are replaced.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { within } from "../real_clients/harness.js";

/** The address of the clients. The proxies connect to the server from 127.0.0.1. */
export const CLIENT = "127.0.0.2";

const modules = "/usr/lib/apache2/modules";

/** How each proxy is started in a folder of its own, with a configuration of the guide or a test. */
const proxies = {
  nginx: (folder, text) => [
    "nginx",
    ["-p", folder, "-e", "stderr", "-c", write(folder, `
      daemon off;
      pid ${folder}/pid;
      events {}
      http {
        access_log off;
        ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join("\n")}
        ${text}
      }`)],
  ],
  haproxy: (folder, text) => ["haproxy", ["-db", "-f", write(folder, `${text}\n`)]],
  apache2: (folder, text, port) => [
    "apache2",
    ["-D", "FOREGROUND", "-f", write(folder, `
ServerName localhost
Listen ${port}
PidFile ${folder}/pid
ErrorLog ${folder}/errors
User www-data
Group www-data
Mutex file:${folder}
${["mpm_event", "authz_core", "proxy", "proxy_http", "proxy_wstunnel", "headers"].map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join("\n")}
${text}
`)],
  ],
};

function write(folder, text) {
  const file = path.join(folder, "conf");
  fs.writeFileSync(file, text);
  return file;
}

/** Returns the reason why a test with this proxy cannot run, or false. */
export function missing(proxy) {
  const found = spawnSync(proxy, ["-v"], { env: environment() }).error === undefined;
  return found ? false : `${proxy} is missing: apt-get install ${proxy}`;
}

/** Debian's folder of such programs is not in everybody's path. */
function environment() {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
}

/** Reads a configuration of the guide. */
export function config(name) {
  return fs.readFileSync(path.join(import.meta.dirname, name), "utf8");
}

/** Starts a proxy to a port of the server, and returns the URL of the proxy. It is killed when the test ends. */
export async function startProxy(t, proxy, text, server) {
  const port = await freePort();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "proxy-"));
  // The workers of nginx run as another user, and keep long bodies there.
  fs.chmodSync(folder, 0o755);
  const ported = text.replaceAll("127.0.0.1:3000", `127.0.0.1:${server}`).replace(/(listen |bind :|\*:)80\b/g, `$1${port}`);
  const [program, args] = proxies[proxy](folder, ported, port);
  const child = spawn(program, args, { env: environment(), stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.on("data", (data) => (output += data));
  const errors = path.join(folder, "errors");
  const said = () => output + (fs.existsSync(errors) ? fs.readFileSync(errors, "utf8") : "");
  const exited = once(child, "exit");
  t.after(async () => {
    child.kill("SIGTERM");
    await within(exited, `the end of ${proxy}`);
    fs.rmSync(folder, { recursive: true, force: true });
  });
  await listening(port, child, said);
  return `http://127.0.0.1:${port}`;
}

async function freePort() {
  for (;;) {
    const server = net.createServer();
    await once(server.listen(0), "listening");
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    // Some lower ones are refused by clients.
    if (port > 10_080) return port;
  }
}

/** Waits until a program listens. */
async function listening(port, child, said) {
  for (let tries = 0; tries < 400; tries += 1) {
    const socket = net.connect(port, "127.0.0.1");
    const up = await new Promise((resolve) => socket.on("connect", () => resolve(true)).on("error", () => resolve(false)));
    socket.destroy();
    if (up) return;
    if (child.exitCode !== null) throw new Error(`it did not start: ${said()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`it does not listen: ${said()}`);
}

/** Options of a client at its own address, which tries to be another one. */
export function options() {
  return {
    agent: new http.Agent({ localAddress: CLIENT, keepAlive: true }),
    extraHeaders: { "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", Forwarded: "for=6.6.6.6" },
  };
}
