// `--save` keeps the table in benches/results/cluster.md.
//
// Four servers in one cluster, two of ours and two of Node's. Of each kind, one sends in turn, and both receivers get every
// broadcast, so that all are measured under the same load.
import { once } from "node:events";
import { execFileSync } from "node:child_process";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import os from "node:os";
import { Cluster, eventually, redisServer } from "../../tests/real_servers/cluster/harness.js";

const require = createRequire(new URL("../../tests/real_servers/cluster/harness.js", import.meta.url));
const { WebSocket } = require("ws");

const ROUNDS = Number(process.env.ROUNDS ?? 5);
const DIALECTS = (process.env.DIALECTS ?? "classic;sharded, static;streams").split(";");
const KINDS = ["tokio", "node", "tokio", "node"];
/** The broadcasts of a round, by the number of sockets in the room of each receiver. */
const BROADCASTS = new Map([[0, 20_000], [10, 1000], [1000, 20]]);
/** The rooms that each receiver has beside that. */
const ROOMS = 10_000;
const ARGS = ["x".repeat(64)];

/** Returns the CPU time of a process so far, in microseconds. */
async function cpu({ process: { pid } }) {
  const threads = await readdir(`/proc/${pid}/task`);
  const times = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/schedstat`, "utf8")));
  return times.reduce((sum, text) => sum + Number(text.split(" ")[0]) / 1000, 0);
}

/** A client that costs as little as possible, and counts what it receives. */
async function member(node, room) {
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/socket.io/?EIO=4&transport=websocket`);
  const client = { node, socket, received: 0 };
  const joined = new Promise((resolve) => {
    socket.on("message", (data) => {
      const text = data.toString();
      if (text === "2") socket.send("3");
      else if (text.startsWith("0")) socket.send("40");
      else if (text.startsWith("40")) socket.send(`420["join","${room}"]`);
      else if (text.startsWith("430")) resolve();
      else client.received++;
    });
  });
  await once(socket, "open");
  await joined;
  return client;
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function measure(dialect, report) {
  const cluster = await Cluster.start(dialect, { kinds: KINDS, profile: "release" });
  const [senders, receivers] = [cluster.nodes.slice(0, 2), cluster.nodes.slice(2)];
  try {
    const [, , ...clients] = cluster.clients;
    await cluster.join("end", clients);
    for (const client of clients) {
      for (let room = 0; room < ROOMS; room += 500) {
        await Promise.all(Array.from({ length: 500 }, (_, i) => client.ask("join", `another room ${room + i}`)));
      }
    }
    for (const [sockets, times] of BROADCASTS) {
      const room = `room of ${sockets}`;
      const members = [];
      for (const node of receivers) {
        // As many at a time as a server accepts at once.
        while (members.filter((it) => it.node === node).length < sockets) {
          members.push(...await Promise.all(Array.from({ length: 10 }, () => member(node, room))));
        }
      }
      const spent = { sent: { tokio: [], node: [] }, received: { tokio: [], node: [] } };
      let expected = 0;
      // The first round warms everything.
      for (let round = 0; round <= ROUNDS; round++) {
        for (const sender of senders) {
          const before = await Promise.all(cluster.nodes.map(cpu));
          const client = cluster.clients[cluster.nodes.indexOf(sender)];
          const event = `end ${round} ${sender.kind}`;
          await client.ask("emit", { rooms: [room], event: "news", args: ARGS, times });
          await client.ask("emit", { rooms: ["end"], event, args: [] });
          expected += times;
          await eventually("the broadcasts", () => {
            const isOver = clients.every((it) => it.events(event).length > 0);
            return isOver && members.every(({ received }) => received >= expected) || undefined;
          }, 120_000);
          const after = await Promise.all(cluster.nodes.map(cpu));
          const each = after.map((time, i) => (time - before[i]) / times);
          if (round === 0) continue;
          spent.sent[sender.kind].push(each[cluster.nodes.indexOf(sender)]);
          receivers.forEach((node, i) => spent.received[node.kind].push(each[2 + i]));
        }
      }
      for (const { socket } of members) socket.close();
      for (const what of sockets === 0 ? ["sent", "received"] : ["received"]) {
        const [ours, nodes] = [median(spent[what].tokio), median(spent[what].node)];
        report(what === "sent" ? "sent" : `received, ${sockets} sockets`, ours, nodes);
      }
    }
  } finally {
    await cluster.end();
  }
}

let text = "";
const print = (line) => {
  console.log(line);
  text += `${line}\n`;
};
print(`CPU time of a server for each broadcast of 64 bytes to one room, system calls included, in microseconds; medians of
${ROUNDS} rounds. Each receiver has sockets in 10,000 other rooms.\n`);
print("| dialect | broadcast | sockeye | node | ratio |\n|---|---|---|---|---|");
for (const dialect of DIALECTS) {
  await measure(dialect, (what, ours, nodes) => {
    print(`| ${dialect} | ${what} | ${ours.toFixed(2)} | ${nodes.toFixed(2)} | ${(nodes / ours).toFixed(1)} |`);
  });
}

if (process.argv.includes("--save")) {
  const root = new URL("../../", import.meta.url);
  const ask = (program, ...args) => execFileSync(program, args, { cwd: root, encoding: "utf8" }).trim();
  const commit = ask("git", "describe", "--always", "--dirty");
  const redis = ask(redisServer, "--version").match(/v=(\S+)/)?.[1];
  const { version } = JSON.parse(await readFile(new URL("tests/real_servers/cluster/node_modules/socket.io/package.json", root)));
  const day = new Date().toISOString().slice(0, 10);
  const machine = `${os.cpus().length} cores (${os.cpus()[0].model}), which other programs may use as well`;
  const programs = `Linux ${os.release()}, Redis ${redis}, socket.io ${version} on Node ${process.version}`;
  const head = `# A broadcast in a cluster\n\n${day}, commit ${commit}; ${machine}; ${programs}.\n\n`;
  await writeFile(new URL("benches/results/cluster.md", root), `${head}\`\`\`sh\nbenches/cluster/run --save\n\`\`\`\n\n${text}`);
}
