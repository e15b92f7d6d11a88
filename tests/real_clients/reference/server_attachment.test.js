// The client's script, which the server serves, after the reference's `server-attachment.ts`.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { Fetch } from "socket.io-client";
import { exchange, testOnce } from "../harness.js";

const ORIGIN = "https://good-origin.com";
const DIST = path.join(import.meta.dirname, "../node_modules/socket.io-client/dist");
const BUNDLES = ["socket.io.js", "socket.io.min.js", "socket.io.msgpack.min.js", "socket.io.esm.min.js"];

testOnce("every bundle of the client is served with its source map, whatever the query", { client: DIST }, async (server) => {
  const types = { "": "application/javascript; charset=utf-8", ".map": "application/json; charset=utf-8" };
  for (const bundle of BUNDLES) {
    for (const [ending, type] of Object.entries(types)) {
      const name = bundle + ending;
      for (const query of ["", "?buster=1"]) {
        const response = await server.fetch(`/socket.io/${name}${query}`);
        assert.equal(response.status, 200, name);
        assert.equal(response.headers.get("content-type"), type, name);
        assert.equal(response.headers.get("x-sourcemap"), null);
        assert.equal(await response.text(), await readFile(path.join(DIST, name), "utf8"));
      }
    }
  }
});

testOnce("the client's script is served with CORS headers", { client: DIST, origin: ORIGIN }, async (server) => {
  const response = await server.fetch("/socket.io/socket.io.js", { headers: { origin: ORIGIN } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
});

testOnce("the client's script is served as gzip to clients that accept it", { client: DIST, "http-compression": 1024 }, async (server) => {
  const response = await server.fetch("/socket.io/socket.io.js", { headers: { "accept-encoding": "gzip" } });
  assert.equal(response.headers.get("content-encoding"), "gzip");
  assert.equal(await response.text(), await readFile(path.join(DIST, "socket.io.js"), "utf8"));
});

testOnce("the client's script is served as it is to clients that accept only Brotli", { client: DIST, "http-compression": 1024 }, async (server) => {
  const response = await server.fetch("/socket.io/socket.io.js", { headers: { "accept-encoding": "br" } });
  assert.equal(response.headers.get("content-encoding"), null);
  assert.equal(await response.text(), await readFile(path.join(DIST, "socket.io.js"), "utf8"));
});

testOnce("a client that polls by fetch gets compressed payloads", { "http-compression": 1024 }, async (server) => {
  const codings = [];
  class Noting extends Fetch {
    async _fetch(data) {
      const response = await super._fetch(data);
      if (data === undefined) codings.push(response.headers.get("content-encoding"));
      return response;
    }
  }
  const client = await server.connect({ transports: [Noting] });
  for (const arg of ["short", "long ".repeat(10_000), Buffer.alloc(100_000)]) {
    assert.deepEqual(await exchange(client, "echo", [arg]), [arg]);
  }
  assert.ok(codings.includes("gzip") && codings.includes(null), codings);
});

// For a file below its path that it does not know, the reference answers with 400.
testOnce("the client's script is served at its path only", { client: DIST }, async (server) => {
  for (const url of ["/abcdefghij/socket.io.js", "/socket.io.js", "/socket.io/socket.io.esm.js"]) {
    assert.equal((await server.fetch(url)).status, 404, url);
  }
});

testOnce("a server that does not serve the client's script refuses its request", {}, async (server) => {
  const response = await server.fetch("/socket.io/socket.io.js");
  assert.equal(response.status, 404);
});
