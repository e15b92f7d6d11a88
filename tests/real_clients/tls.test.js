// `https` and `wss`, with a self-signed certificate that the client is told to trust.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { TRANSPORTS, ask, exchange, next, start, test } from "./harness.js";

for (const transport of Object.keys(TRANSPORTS)) {
  test(`a client connects over TLS (${transport})`, async (t) => {
    const folder = await mkdtemp(path.join(tmpdir(), "sockeye-"));
    t.after(() => rm(folder, { recursive: true }));
    const certificate = path.join(folder, "cert.pem");
    const server = await start(t, { certificate }, transport);
    const url = `https://127.0.0.1:${server.port}`;

    const client = await server.connect({ url, ca: await readFile(certificate) });
    assert.equal(await ask(client, "secure"), true);
    const large = "x".repeat(900_000);
    assert.deepEqual(await exchange(client, "echo", [large, Buffer.from([1, 2, 3])]), [large, Buffer.from([1, 2, 3])]);

    // A client that does not trust the certificate fails by itself, and one without TLS fails as well.
    const wary = server.client({ url });
    await next(wary, "connect_error");
    const plain = server.client();
    await next(plain, "connect_error");
    assert.equal(await ask(client, "return", "still here"), "still here");
    const { id } = client;
    client.disconnect();
    assert.equal(await server.disconnectReason(id), "client namespace disconnect");
  });
}
