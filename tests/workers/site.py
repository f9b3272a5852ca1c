"""A service with what lasts running through it: downloads, streams, uploads, WebSockets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_web_socket

from tests.backends import Conversation, scripted
from tests.processes import Service, serve
from tests.redis_servers import RedisServer
from tests.server.serving import Client


class Site:
    """A running service with one frontend; its backend holds answers back until `gate` is set.

    Before that it sends a piece a second of what lasts, `seconds` times.
    """

    def __init__(self, service: Service, seconds: int = 0) -> None:
        self.service = service
        self.seconds = seconds
        self.gate = asyncio.Event()
        self.clients: list[Client] = []

    async def each_second(self) -> AsyncIterator[int]:
        for second in range(self.seconds):
            await asyncio.sleep(1)
            yield second

    async def converse(self, peer: Conversation) -> None:
        while True:
            target = (await peer.head()).line[1]
            if target == b"/download":
                size = 8 + self.seconds
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nhalf" % size)
                async for _ in self.each_second():
                    await peer.send(b".")
                await self.gate.wait()
                await peer.send(b"half")
            elif target == b"/events":
                await peer.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
                )
                async for _ in self.each_second():
                    await peer.send(b"2\r\n:\n\r\n")
                await self.gate.wait()
                await peer.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
            elif target == b"/upload":
                body = await peer.reader.readexactly(8 + self.seconds)
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            elif target == b"/wait":
                await self.gate.wait()
            else:
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.service.port))
        self.clients.append(client)
        return client

    def refuses(self) -> bool:
        """Whether nobody listens any more."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.service.port)) == errno.ECONNREFUSED

    async def get(self, target: bytes, fields: bytes = b"") -> Client:
        """A connection on which this was asked."""
        client = await self.connect()
        client.send(b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (target, fields))
        return client


async def echo(web_socket: ServerConnection) -> None:
    async for message in web_socket:
        await web_socket.send(message)


@asynccontextmanager
async def site(folder: Path, valkey: RedisServer, **server: Any) -> AsyncIterator[Site]:
    async with serve(folder, valkey.url, **server) as service, around(service, valkey) as here:
        yield here


@asynccontextmanager
async def around(service: Service, valkey: RedisServer, seconds: int = 0) -> AsyncIterator[Site]:
    """The site of a service that runs already."""
    here = Site(service, seconds)
    async with (
        scripted(here.converse) as backend,
        serve_web_socket(echo, "127.0.0.1", 0) as echoes,
    ):
        port = next(iter(echoes.sockets)).getsockname()[1]
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
            await client.rpush("frontend:ws.test", "id", f"http://127.0.0.1:{port}")
        try:
            yield here
        finally:
            for each in here.clients:
                each.reset()


def web_socket(site: Site) -> connect:
    port = site.service.port
    return connect(f"ws://ws.test:{port}/", host="127.0.0.1", port=port, proxy=None)
