"""A server of python-socketio for the tests of the client: prints its port, and ends with its input."""

import asyncio
import os
import socket
import sys
import threading

import socketio
import uvicorn

# Not over aiohttp: there it takes the part of a body that has come for all of it.
io = socketio.AsyncServer(async_mode="asgi")


@io.event
async def connect(sid, environ, auth):
    token = (auth or {}).get("token")
    if token == "bad":
        raise socketio.exceptions.ConnectionRefusedError("not you")
    if token == "worse":
        raise socketio.exceptions.ConnectionRefusedError("nor you", {"code": 7})
    await io.emit("welcome", [token, environ["HTTP_X_WHO"]], to=sid)


@io.on("connect", namespace="/chat")
async def connect_chat(sid, environ, auth):
    pass


@io.on("where", namespace="/chat")
async def where(sid):
    return "/chat"


@io.on("again")
async def again(sid, *args):
    await io.emit("again", list(args), to=sid)


@io.on("answer")
async def answer(sid, *args):
    """Acknowledges with what came."""
    return args


@io.on("ask_me")
async def ask_me(sid, *args):
    """Acknowledges with what the client acknowledges."""
    return await io.call("bounce", args, to=sid, timeout=5)


bounced = {}


@io.on("bounced")
async def on_bounced(sid, *args):
    if future := bounced.pop(sid, None):
        future.set_result(args)


@io.on("binary")
async def binary(sid, size):
    """Whether binary comes back as it was sent, as an event and as an acknowledgement."""
    args = (bytes(i % 256 for i in range(size)), {"deep": [b"\x00\xff", "text"]}, b"")
    bounced[sid] = future = asyncio.get_running_loop().create_future()
    acknowledged = await io.call("bounce", args, to=sid, timeout=5)
    event = await asyncio.wait_for(future, 5)
    return [tuple(acknowledged) == args, event == args]


@io.on("transport")
async def transport(sid):
    return io.transport(sid)


@io.on("leave_me")
async def leave_me(sid):
    await io.disconnect(sid)


def end_with_input():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(socketio.ASGIApp(io), ws="wsproto", log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])
