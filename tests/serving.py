"""The whole proxy on a real uvicorn, as `uvicorn app:create_app --factory` runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from app.config.structs import Config, parse
from app.main import create_app
from tests.backends import ScriptedBackend
from tests.edge.serving import Client
from tests.redis_servers import RedisServer


def config_of(valkey: RedisServer, **server: Any) -> Config:
    """A configuration whose routes are in `valkey`; `server` has keys as in the file."""
    calm = {"accessLog": None, "snapshot": None, "storeTimeout": 10}  # a busy machine is no outage
    values = calm | server
    return parse(json.dumps({"driver": valkey.url, "server": values}))


@dataclass
class Proxy:
    """A running proxy and the store of its routes."""

    port: int
    valkey: RedisServer
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        """A raw connection, reset at the end of the test if not before."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def talk(self, data: bytes) -> bytes:
        """Send, half-close, and read up to the proxy's close."""
        client = await self.connect()
        client.send(data)
        client.end()
        return await client.rest()

    async def get(self, target: bytes = b"/", host: bytes = b"a.test") -> bytes:
        return await self.talk(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host))

    async def route(self, host: str, *backends: ScriptedBackend | str) -> None:
        """Write a frontend as a person does with redis-cli."""
        urls = [b if isinstance(b, str) else f"http://127.0.0.1:{b.port}" for b in backends]
        async with self.valkey.client as client:
            await client.rpush(f"frontend:{host}", "the-site", *urls)


@asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """Serve any application; gives the port. `options` are uvicorn's."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, **options)
    server = uvicorn.Server(config)
    listening = asyncio.Event()
    server._log_started_message = lambda listeners: listening.set()  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    first = await asyncio.wait(
        [task, asyncio.create_task(listening.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    assert task not in first[0], "the server did not start"
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def proxying(valkey: RedisServer, **server: Any) -> AsyncIterator[Proxy]:
    """A proxy with these keys of `server` in its configuration."""
    async with serving(create_app(config_of(valkey, **server))) as port:
        proxy = Proxy(port, valkey)
        try:
            yield proxy
        finally:
            for client in proxy.clients:
                client.reset()
