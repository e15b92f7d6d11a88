// An empty page with a version of the client from npm, for tests that connect from another origin.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";

// For JSONP, the client puts its scripts in front of the first one, and its form at the end of the body.
const PAGE = '<!doctype html><meta charset="utf-8"><script src="client.js"></script><body></body>';

/** Serves a page that has this client until the test ends. Returns its origin. */
export async function serveClient(t, client) {
  const script = await readFile(path.resolve(import.meta.dirname, "node_modules", client, "dist/socket.io.js"));
  const site = http.createServer((request, response) => {
    const [type, body] = request.url === "/client.js" ? ["text/javascript", script] : ["text/html", PAGE];
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
  });
  await once(site.listen(0, "127.0.0.1"), "listening");
  t.after(() => site.close());
  return `http://127.0.0.1:${site.address().port}`;
}
