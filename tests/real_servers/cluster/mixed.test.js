// Servers in Rust and in Node in one cluster: every operation, from every server to all of them.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test, within } from "../../real_clients/program.js";
import { Cluster, DIALECTS, eventually, skip } from "./harness.js";

const names = (clients) => clients.map(({ name }) => name).sort();
const byName = (list) => list.sort((a, b) => (a.name < b.name ? -1 : 1));
const DATA = { deep: [1, -2.5, null, true, "\u00e9\u{1f600}"], big: 2 ** 53 - 1, empty: {} };
const BINARY = Buffer.from([0, 1, 254, 255]);

for (const dialect of Object.keys(DIALECTS)) {
  describe(dialect, { skip, concurrency: 1 }, () => {
    let cluster, clients;

    before(async () => {
      cluster = await Cluster.start(dialect);
      clients = cluster.clients;
      await cluster.join("all");
      await cluster.join("even", clients.filter((_, i) => i % 2 === 0));
    });
    after(() => cluster?.end());

    test("a broadcast reaches each client once, in the order of its sender, binary data included", async () => {
      for (const sender of clients) {
        for (let i = 0; i < 20; i++) await sender.ask("emit", { event: `news ${sender.name}`, args: [i, DATA, BINARY] });
      }
      await cluster.quiet();
      for (const sender of clients) {
        for (const client of clients) {
          const expected = Array.from({ length: 20 }, (_, i) => [i, DATA, BINARY]);
          assert.deepEqual(client.events(`news ${sender.name}`), expected, `${sender.name} to ${client.name}`);
        }
      }
    });

    test("a broadcast to rooms reaches the sockets in them but those in the excluded ones", async () => {
      for (const sender of clients) {
        const send = (event, rooms, except) => sender.ask("emit", { rooms, except, event, args: [sender.name] });
        await send("to one", ["even"]);
        await send("to both", ["even", "all"]);
        await send("but", ["all"], ["even"]);
        await send("to nobody", ["elsewhere"]);
        await send("to a socket", [clients.at(-1).socket.id]);
      }
      await cluster.quiet();
      const expected = names(clients);
      clients.forEach((client, i) => {
        const from = (event) => client.events(event).map(([name]) => name).sort();
        assert.deepEqual(from("to one"), i % 2 === 0 ? expected : []);
        assert.deepEqual(from("to both"), expected);
        assert.deepEqual(from("but"), i % 2 === 0 ? [] : expected);
        assert.deepEqual(from("to nobody"), []);
        assert.deepEqual(from("to a socket"), client === clients.at(-1) ? expected : []);
      });
    });

    test("a broadcast that is acknowledged collects the answers of all clients", async () => {
      for (const sender of clients) {
        for (const value of [7, DATA, BINARY]) {
          const answers = await sender.ask("ask", { event: "question", args: [value], timeout: 20_000 });
          assert.deepEqual(byName(answers), names(clients).map((name) => ({ name, value })), sender.node.kind);
        }
        const some = await sender.ask("ask", { rooms: ["even"], event: "question", args: [1], timeout: 20_000 });
        assert.deepEqual(names(some), names(clients.filter((_, i) => i % 2 === 0)));
      }
    });

    test("the answers that came are returned after the timeout", async () => {
      const silent = [clients[0].name, clients.at(-1).name];
      for (const sender of clients) {
        const answers = await sender.ask("ask", { event: "secret", args: [silent], timeout: 1500 });
        assert.deepEqual(answers.sort(), names(clients).filter((name) => !silent.includes(name)), sender.node.kind);
      }
    });

    test("the sockets of all servers are found, with their rooms and data", async () => {
      for (const sender of clients) {
        const found = await sender.ask("fetch", {});
        assert.deepEqual(found.map(({ id }) => id).sort(), clients.map(({ socket }) => socket.id).sort());
        for (const { id, rooms, data } of found) {
          const i = clients.findIndex(({ socket }) => socket.id === id);
          assert.deepEqual(rooms.sort(), ["all", id, ...(i % 2 === 0 ? ["even"] : [])].sort());
          assert.deepEqual(data, { name: clients[i].name });
        }
        const even = await sender.ask("fetch", { rooms: ["even"] });
        assert.deepEqual(even.map(({ data }) => data.name).sort(), names(clients.filter((_, i) => i % 2 === 0)));
      }
    });

    test("sockets of all servers join and leave rooms", async () => {
      const rooms = (expected) => Promise.all(clients.map((client, i) => eventually(`${client.name} to move`, async () => {
        assert.deepEqual((await client.ask("rooms")).sort(), ["all", ...(i % 2 === 0 ? ["even", ...expected] : [])].sort());
        return true;
      })));
      for (const sender of clients) {
        assert.equal(await sender.ask("move", { rooms: ["even"], join: ["a", "b"] }), true);
        await rooms(["a", "b"]);
        assert.equal(await sender.ask("move", { rooms: ["a"], leave: ["b"] }), true);
        await rooms(["a"]);
        await sender.ask("move", { rooms: ["even"], leave: ["a"] });
        await rooms([]);
      }
    });

    test("sockets of all servers are disconnected", async () => {
      for (const sender of clients) {
        for (const close of [false, true]) {
          const victims = await Promise.all(cluster.nodes.map((node, i) => cluster.connect(node, `victim ${i}`)));
          const room = `victims of ${sender.name} ${close}`;
          await cluster.join(room, victims);
          assert.equal(await sender.ask("kick", { rooms: [room], close }), true);
          for (const victim of victims) {
            const reason = await within(victim.left, `${victim.node.kind} to disconnect for ${sender.node.kind}`);
            assert.equal(reason, "io server disconnect");
          }
        }
      }
      assert.equal((await clients[0].ask("fetch", {})).length, clients.length);
    });

    test("the other servers answer an event between servers", async () => {
      for (const sender of clients) {
        const answers = await sender.ask("tell", { event: "where", args: [] });
        const ports = cluster.nodes.filter((node) => node !== sender.node).map(({ port }) => port);
        assert.deepEqual(answers.sort(), ports.sort(), sender.node.kind);
      }
    });
  });
}
