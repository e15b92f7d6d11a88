// The harness of the folder above, with the server of this folder.
import { TRANSPORTS, ask, flush, start, test } from "../harness.js";

export { Inbox, ask, exchange, flush, next, test, within } from "../harness.js";

/** Registers a test for each way to connect, with a server that is started with `args`. */
export function testEach(name, run, args = {}) {
  for (const transport of Object.keys(TRANSPORTS)) {
    test(`${name} (${transport})`, async (t) => run(await start(t, args, transport, "reference_server"), transport));
  }
}

/** Registers a test that is run once. */
export function testOnce(name, run, args = {}) {
  test(name, async (t) => run(await start(t, args, "upgrading", "reference_server")));
}

/** Connects clients with names, and records what each of them is told. `rooms` is a list for each. */
export async function crowd(server, rooms, namespaces = {}) {
  const told = [];
  const clients = {};
  await Promise.all(Object.entries(rooms).map(async ([name, joined]) => {
    const client = await server.connect({ namespace: namespaces[name] });
    client.on("told", (what) => told.push(`${name}: ${Buffer.isBuffer(what) ? what.toString("hex") : what}`));
    await ask(client, "join", joined);
    clients[name] = client;
  }));
  const heard = async () => {
    await flush(...Object.values(clients));
    return told.splice(0).sort();
  };
  return { ...clients, heard };
}
