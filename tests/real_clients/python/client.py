"""A client of python-socketio against the server of these tests: it fails with an assertion, or ends with `done`.

`client.py URL TRANSPORT KIND SERIALIZER`: the transport is polling, websocket or upgrading; the kind is Client or
AsyncClient; the serializer is default or msgpack.
"""

import asyncio
import inspect
import os
import sys
import traceback

import engineio.payload
import socketio

url, way, kind, serializer = sys.argv[1:5]
transports = {"polling": ["polling"], "websocket": ["websocket"], "upgrading": None}[way]

# Its default of 16 is the number of packets of one poll, and a server may have more at once: the guide says so.
engineio.payload.Payload.max_decode_packets = 1000

TIMEOUT = 20

# Version 4 of the package is a client of Socket.IO 2: it has no `auth`, and is connected to the main namespace in any case.
OLD = hasattr(socketio, "__version__") and socketio.__version__.startswith("4.")


async def now(value):
    """The result of a method, of either kind of client."""
    return await value if inspect.isawaitable(value) else value


def new_client():
    # Version 4 has no serializers.
    options = {} if OLD else {"serializer": serializer}
    return getattr(socketio, kind)(reconnection=False, **options)


async def connect(client, **options):
    if OLD:
        options.pop("auth", None)
    else:
        options["wait_timeout"] = TIMEOUT
    await now(client.connect(url, transports=transports, **options))


async def call(client, event, *args, namespace=None):
    return await now(client.call(event, args, namespace=namespace, timeout=TIMEOUT))


class Inbox:
    """Waits for events of one name. The threads of Client and the tasks of AsyncClient put them in."""

    def __init__(self, client, event, namespace="/"):
        self.all = []
        client.on(event, lambda *args: self.all.append(args), namespace=namespace)

    async def get(self, client, number):
        for _ in range(TIMEOUT * 100):
            if len(self.all) >= number:
                return self.all
            await now(client.sleep(0.01))
        raise AssertionError(f"{len(self.all)} of {number}: {self.all[-3:]}")


async def events_and_acknowledgements(client):
    for value in [1, -1.5, "€ 🐟 \" \\ \n \u2028", None, True, [], {"a": [1, {"b": None}]}]:
        # One value, and no list of it.
        assert await call(client, "return", value) == value, value
    assert await call(client, "return", 1, "two") == (1, "two")
    assert await call(client, "return") is None
    assert await call(client, "add", 2**53, 1) == 2**53 + 1
    large = "x" * 300_000
    assert await call(client, "return", large) == large


async def binary(client):
    # Version 4 reads bytes of no length as None.
    none = b"0" if OLD else b""
    for size in [len(none), 1, 125, 126, 65_535, 65_536, 200_000]:
        args = (bytes(i % 256 for i in range(size)), {"deep": [b"\x00\xff", "text"]}, none)
        assert await call(client, "return", *args) == args, size


async def questions_of_the_server(client):
    answers = Inbox(client, "answer")
    client.on("question", lambda *args: (args[0], b"bytes"))
    await now(client.emit("ask", "?"))
    assert (await answers.get(client, 1))[0] == ("?", b"bytes")


async def many_events_in_order(client):
    echoes = Inbox(client, "echo")
    for number in range(200):
        await now(client.emit("echo", number))
    numbers = [args[0] for args in await echoes.get(client, 200)]
    # Client starts a thread for each message, and these overtake each other.
    assert (sorted(numbers) if kind == "Client" else numbers) == list(range(200)), numbers


async def namespaces_of_version_2():
    client = new_client()
    refused = Inbox(client, "connect_error", namespace="/members")
    # `connect` does not wait for them.
    joined = Inbox(client, "connect", namespace="/chat")
    await connect(client, namespaces=["/chat", "/members"])
    await joined.get(client, 1)
    assert await call(client, "return", "chat", namespace="/chat") == "chat"
    # The details of the refusal alone.
    [(reason,)] = await refused.get(client, 1)
    assert reason["code"] == 401, reason
    await now(client.disconnect())


async def namespaces():
    client = new_client()
    refused = Inbox(client, "connect_error", namespace="/members")
    try:
        await connect(client, namespaces=["/", "/chat", "/members"], auth={"password": "wrong"})
        raise AssertionError("it was let in")
    except socketio.exceptions.ConnectionError:
        pass
    [(reason,)] = await refused.get(client, 1)
    assert reason["message"] == "not a member" and reason["data"]["code"] == 401, reason
    await now(client.disconnect())

    client = new_client()
    welcome = Inbox(client, "welcome", namespace="/members")
    auth = {"password": "open sesame", "name": "Ann"}
    await connect(client, namespaces=["/", "/chat", "/members"], auth=auth)
    assert (await welcome.get(client, 1))[0][0] == "Ann"
    assert await call(client, "return", "chat", namespace="/chat") == "chat"
    assert await call(client, "return", "main") == "main"
    await now(client.disconnect())

    client = new_client()
    unknown = Inbox(client, "connect_error", namespace="/none")
    try:
        await connect(client, namespaces=["/none"])
        raise AssertionError("there is no such namespace")
    except socketio.exceptions.ConnectionError:
        pass
    assert (await unknown.get(client, 1))[0] == ({"message": "Invalid namespace"},)


async def the_end(client):
    ends = Inbox(client, "disconnect")
    await now(client.emit("kick me"))
    await ends.get(client, 1)


async def main():
    client = new_client()
    await connect(client, auth={"token": "t"}, headers={"X-Who": "me"})
    assert await call(client, "headers", "x-who") == "me"
    assert client.transport() == ("polling" if way == "polling" else "websocket")
    assert await call(client, "transport") == client.transport()
    await events_and_acknowledgements(client)
    await binary(client)
    await questions_of_the_server(client)
    await many_events_in_order(client)
    await the_end(client)
    await (namespaces_of_version_2() if OLD else namespaces())
    print("done", flush=True)


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc()
    os._exit(1)
# A client of version 4 that the server has ended keeps its threads.
os._exit(0)
