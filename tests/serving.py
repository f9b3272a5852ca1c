"""The whole proxy on a real uvicorn, as `uvicorn app:create_app --factory` runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config.structs import Config, parse
from app.main import create_app
from tests.backends import ScriptedBackend
from tests.redis_servers import RedisServer
from tests.server.serving import Client

ASGI_ONLY = False
"""For the tests that ask for `either_way`: those of them that are to go through ASGI."""


def config_of(
    valkey: RedisServer, *, http2: bool = False, alerts: Sequence[Any] = (), **server: Any
) -> Config:
    """A configuration whose routes are in `valkey`; `server` has keys as in the file."""
    calm = {"accessLog": None, "snapshot": None, "storeTimeout": 10}  # a busy machine is no outage
    values = calm | server
    file = {"driver": valkey.url, "server": values, "admin": {"bind": None}}
    file["http"] = {"http2": http2}
    file["alerts"] = [*alerts]
    return parse(json.dumps(file))


@dataclass
class Proxy:
    """A running proxy and the store of its routes."""

    port: int
    valkey: RedisServer
    app: Starlette | None = None
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
        received = await client.rest()
        await client.close()  # now: a test may ask more often than it may have files open
        self.clients.remove(client)
        return received

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


class PassingOn:
    """A middleware such as a user adds: with it every request goes through ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@asynccontextmanager
async def proxying(
    valkey: RedisServer,
    *,
    asgi: bool = False,
    http2: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
    alerts: Sequence[Any] = (),
    **server: Any,
) -> AsyncIterator[Proxy]:
    """A proxy with these keys of `server` and these `alerts` in its configuration.

    With `asgi` nothing goes below it. `options` are uvicorn's.
    """
    app = create_app(config_of(valkey, http2=http2, alerts=alerts, **server))
    if asgi or ASGI_ONLY:
        app.add_middleware(PassingOn)
    async with serving(app, **options) as port:
        proxy = Proxy(port, valkey, app)
        try:
            yield proxy
        finally:
            for client in proxy.clients:
                client.reset()
