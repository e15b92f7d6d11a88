// The JavaScript client through nginx, HAProxy and Apache: with the configurations of the guide, and with shorter ones.
import assert from "node:assert/strict";
import { next, start, test, TRANSPORTS, within } from "../real_clients/harness.js";
import { CLIENT, config, missing, options, startProxy } from "./harness.js";

/** The configurations of the guide, and the listener of the server that each one needs. */
const GUIDE = [
  ["nginx", "nginx.conf", ["listening", "mounted"]],
  ["haproxy", "haproxy.conf", ["listening", "mounted"]],
  ["haproxy", "haproxy_tcp.conf", ["proxied"]],
  ["apache2", "apache.conf", ["listening", "mounted"]],
];

/** Starts the server, and returns the ports of its listeners. */
async function startServer(t) {
  const server = await start(t, {}, "upgrading", "proxied_server");
  const ports = { listening: server.port };
  for (const name of ["proxied", "mounted"]) {
    ports[name] = Number((await server.line(new RegExp(`^${name} on (?<port>\\d+)$`))).groups.port);
  }
  return { server, ports };
}

function testProxy(proxy, name, run) {
  const reason = missing(proxy);
  if (reason) console.log(`skipping: ${name}: ${reason}`);
  else test(name, run);
}

/** Asks the server for messages back, and for what it knows of the client. */
async function use(client) {
  const large = { text: "x".repeat(100_000), data: Buffer.alloc(100_000, 7) };
  assert.deepEqual(await within(client.emitWithAck("echo", large), "the echo"), large);
  // As many as a proxy may collect, before it passes them on.
  await within(Promise.all(Array.from({ length: 50 }, (_, at) => client.emitWithAck("echo", at))), "the echoes");
  return within(client.emitWithAck("peer"), "the peer");
}

for (const [proxy, file, listeners] of GUIDE) {
  for (const listener of listeners) {
    for (const transport of Object.keys(TRANSPORTS)) {
      testProxy(proxy, `${file} with a server that is ${listener} (${transport})`, async (t) => {
        const { server, ports } = await startServer(t);
        const url = await startProxy(t, proxy, config(file), ports[listener]);
        const client = await server.connect({ url, transport, ...options() });
        assert.deepEqual(await use(client), `http ${CLIENT}`, "the address is that of the client, and no other");
        if (transport !== "upgrading") {
          assert.equal(client.io.engine.transport.name, transport === "polling" ? "polling" : "websocket");
        }
      });
    }
  }
}

/** The shortest configurations. Only HAProxy passes on WebSocket by itself. */
const SHORT = {
  nginx: "server { listen 80; location / { proxy_pass http://127.0.0.1:3000; } }",
  apache2: "<VirtualHost *:80>\nProxyPass / http://127.0.0.1:3000/\n</VirtualHost>",
};

for (const [proxy, text] of Object.entries(SHORT)) {
  // Nginx speaks HTTP/1.0 to the server then, and collects each response before it passes it on.
  for (const listener of ["listening", "mounted"]) {
    testProxy(proxy, `${proxy} without settings leaves a client at polling, of a server that is ${listener}`, async (t) => {
      const { server, ports } = await startServer(t);
      const url = await startProxy(t, proxy, text, ports[listener]);
      const client = server.client({ url, transport: "upgrading", ...options() });
      const failed = next(client.io.engine, "upgradeError");
      await next(client, "connect");
      await failed;
      await use(client);
      assert.equal(client.io.engine.transport.name, "polling");
    });
  }

  testProxy(proxy, `${proxy} without settings for WebSocket fails a client that wants nothing else`, async (t) => {
    const { server, ports } = await startServer(t);
    const url = await startProxy(t, proxy, text, ports.listening);
    const client = server.client({ url, transport: "websocket", ...options() });
    const [error] = await next(client, "connect_error");
    assert.equal(error.message, "websocket error");
  });
}

testProxy("haproxy", "the first version of the PROXY protocol tells the address as well", async (t) => {
  const { server, ports } = await startServer(t);
  const text = config("haproxy_tcp.conf").replace("send-proxy-v2", "send-proxy");
  const url = await startProxy(t, "haproxy", text, ports.proxied);
  const client = await server.connect({ url, transport: "upgraded", ...options() });
  assert.deepEqual(await use(client), `http ${CLIENT}`);
});

testProxy("haproxy", "health checks by the PROXY protocol and connections ahead of requests are accepted", async (t) => {
  const { server, ports } = await startServer(t);
  const text = config("haproxy_tcp.conf").replace("send-proxy-v2", "send-proxy-v2 check inter 20ms");
  const url = await startProxy(t, "haproxy", text, ports.proxied);
  const client = await server.connect({ url, transport: "polling", ...options() });
  assert.deepEqual(await use(client), `http ${CLIENT}`);
});

testProxy("haproxy", "a proxy that sends no header of the PROXY protocol gets no answer", async (t) => {
  const { server, ports } = await startServer(t);
  const url = await startProxy(t, "haproxy", config("haproxy_tcp.conf").replace("send-proxy-v2", ""), ports.proxied);
  const client = server.client({ url, transport: "polling", ...options() });
  const [error] = await next(client, "connect_error");
  assert.equal(error.message, "xhr poll error");
});

/** What a client sees whose connection a proxy cuts: a poll is answered with 504 or 502 by the proxy itself. */
const CUT = { websocket: "transport close", polling: "transport error" };

/** The configurations of the guide, which cut what is silent for a second. Apache leaves WebSocket alone. */
const IMPATIENT = [
  ["nginx", config("nginx.conf").replace("proxy_read_timeout 60s", "proxy_read_timeout 1s")],
  ["haproxy", config("haproxy.conf").replace("timeout server 60s", "timeout server 1s").replace("timeout tunnel 1h", "timeout tunnel 1s")],
  ["apache2", config("apache.conf").replace("ProxyTimeout 60", "ProxyTimeout 1")],
];

for (const [proxy, text] of IMPATIENT) {
  for (const [transport, expected] of Object.entries(CUT)) {
    if (proxy === "apache2" && transport === "websocket") continue;
    testProxy(proxy, `a client whose silent connection ${proxy} cuts comes back (${transport})`, async (t) => {
      const { server, ports } = await startServer(t);
      const url = await startProxy(t, proxy, text, ports.listening);
      const client = await server.connect({ url, transport, reconnection: true, ...options() });
      const [reason] = await next(client, "disconnect");
      assert.equal(reason, expected);
      await next(client, "connect");
      assert.deepEqual(await use(client), `http ${CLIENT}`);
    });
  }
}
