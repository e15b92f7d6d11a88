// The clients of benches/jitter with the reference's own client: node jitter.mjs URL CLIENTS SECONDS RATE.
// Prints [expected, delivered, twice or out of order, cuts, begun anew].
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";

const [url, clients, seconds, rate] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const AWAY = 2_000;
const CALM = 10_000;
let [unexpected, cuts, anew, begun] = [0, 0, 0, false];

const members = Array.from({ length: clients }, () => {
  const socket = io(url, {
    transports: ["websocket"],
    forceNew: true,
    reconnectionDelay: AWAY,
    reconnectionDelayMax: AWAY,
    randomizationFactor: 0,
  });
  const member = { socket, last: 0, received: 0 };
  socket.on("broadcast", (number) => {
    if (number > member.last) {
      member.last = number;
      member.received++;
    } else {
      unexpected++;
    }
  });
  socket.on("connect", () => {
    if (begun) anew += !socket.recovered;
  });
  return member;
});

async function allConnected() {
  while (members.some(({ socket }) => !socket.connected)) await sleep(20);
}

await allConnected();
begun = true;
let ended = false;
// The first one sends, and is never cut.
for (const { socket } of members.slice(1)) {
  const cutLater = () => setTimeout(() => {
    if (ended || !socket.connected) return;
    cuts++;
    socket.io.engine.transport.ws.terminate();
  }, Math.random() * CALM);
  socket.on("connect", cutLater);
  cutLater();
}
const start = Date.now();
let number = 0;
while (Date.now() - start < seconds * 1000) {
  members[0].socket.emit("broadcast", ++number);
  await sleep(Math.max(0, start + (number * 1000) / rate - Date.now()));
}
ended = true;
await allConnected();
const count = () => members.reduce((sum, { received }) => sum + received, 0);
let delivered;
do {
  delivered = count();
  await sleep(3000);
} while (count() > delivered);
console.log(JSON.stringify([number * clients, delivered, unexpected, cuts, anew]));
process.exit();
