"""A client of python-socketio in a room with clients of other languages and versions.

`room.py URL TRANSPORT KIND NAME`: it prints what it is told, speaks when it is named, and ends when the room is told to go.
"""

import asyncio
import inspect
import os
import sys
import traceback

import socketio

url, way, kind, name = sys.argv[1:5]
transports = {"polling": ["polling"], "websocket": ["websocket"], "upgrading": None}[way]
TIMEOUT = 20


async def now(value):
    """The result of a method, of either kind of client."""
    return await value if inspect.isawaitable(value) else value


async def main():
    # A loop of its own for `Client`, which calls its handlers from threads.
    client, loop, heard = getattr(socketio, kind)(reconnection=False), asyncio.get_running_loop(), asyncio.Queue()
    client.on("told", lambda text: loop.call_soon_threadsafe(heard.put_nowait, ("told", text)))
    client.on("bytes", lambda data, size: loop.call_soon_threadsafe(heard.put_nowait, ("bytes", data, size)))
    client.on("question", lambda question: (f"{question} {name}", name.encode()))
    await now(client.connect(url, transports=transports))
    await now(client.call("join", "room", timeout=TIMEOUT))
    print("joined", flush=True)
    while True:
        event, *args = await asyncio.wait_for(heard.get(), TIMEOUT)
        if event == "bytes":
            data, size = args
            assert data == bytes([1]) * size, (data, size)
        print(event, args[-1], flush=True)
        if args == ["go"]:
            break
        if args == [name]:
            await now(client.call("tell everybody in room", ("room", f"{name} speaks"), timeout=TIMEOUT))
    await now(client.disconnect())
    print("done", flush=True)


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc()
    os._exit(1)
os._exit(0)
