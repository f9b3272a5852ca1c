"""A real uvicorn server with our protocol on a loopback port, and raw sockets to it."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from app.server.edge import ClientLimits, Edge
from app.server.running import uvicorn_config

App = Callable[..., Awaitable[None]]
TEXT = [(b"content-type", b"text/plain")]


async def answer(send: Any, body: bytes = b"ok", *, status: int = 200, headers: Any = None) -> None:
    fields = [*TEXT, (b"content-length", b"%d" % len(body))] if headers is None else headers
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Any) -> bytes:
    """The whole request body; None-like b'' chunks are kept out. Fails when the client leaves."""
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            return body


def undated(answers: bytes) -> bytes:
    """`answers` without the `Date` that the server adds; each must have one."""
    left, dates = re.subn(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", b"", answers)
    assert dates == len(re.findall(rb"HTTP/1\.1 [2-9]", answers)), answers
    return left


@dataclass
class Recorder:
    """An application that answers `ok` and remembers what reached it."""

    scopes: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.bodies.append(await read_body(receive))
        await answer(send, b"ok")


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def end(self) -> None:
        """Half-close: FIN, and go on reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        """RST."""
        if not self.writer.is_closing():
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def read(self, size: int = 65536) -> bytes:
        return await self.reader.read(size)

    async def until(self, end: bytes) -> bytes:
        return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """Everything up to the server's close."""
        return await self.reader.read()

    async def response(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of one response with a Content-Length (or without a body)."""
        head = await self.until(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return int(head.split(b" ")[1]), head, await self.reader.readexactly(length)

    async def close(self) -> None:
        self.writer.close()


async def raw(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port))


def send_and_reset(port: int, data: bytes) -> None:
    """Connect, send and reset, all before the event loop can accept the connection."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(data)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclass
class Served:
    """The running server."""

    port: int
    edge: Edge
    server: uvicorn.Server
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = await raw(self.port)
        self.clients.append(client)
        return client

    async def talk(self, data: bytes, *, eof: bool = False) -> bytes:
        """Send, and read up to the server's close."""
        client = await self.connect()
        client.send(data)
        if eof:
            client.end()
        return await client.rest()


@asynccontextmanager
async def serving(
    app: App, limits: ClientLimits | None = None, *, sweep: float = 1.0, **options: Any
) -> AsyncIterator[Served]:
    """Serve `app`; every connection and every request ends with the block.

    The server is uvicorn's from its start-up on, but it does not wait for its
    own end: that takes 0.2 s, and its drain has tests of its own.
    """
    edge = Edge(limits or ClientLimits(drain_grace=0.001), sweep_interval=sweep)
    options = {"host": "127.0.0.1", "port": 0, "lifespan": "off", "log_config": None, **options}
    server = uvicorn.Server(uvicorn_config(app, edge, **options))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    served = Served(server.servers[0].sockets[0].getsockname()[1], edge, server)
    try:
        yield served
    finally:
        for client in served.clients:
            client.reset()
        for listener in server.servers:
            listener.close()
        for task in (tasks := list(server.server_state.tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while edge.connections:
            for connection in edge.connections:
                connection.transport.abort()
            await asyncio.sleep(0)
