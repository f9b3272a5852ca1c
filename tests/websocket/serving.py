"""The proxy's WebSocket endpoint on a real server, with real routes to real backends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from websockets.asyncio.client import connect

from app.config.structs import Config, parse
from app.errors import FrontendNotFound
from app.logs.record import AccessRecord
from app.main import create_app
from app.proxy.observers import AccessLogObserver
from app.routing import NO_OPTIONS, Backend, Frontend, Mark, Marks, Route, parse_frontend
from app.server.edge import Edge
from app.server.running import uvicorn_config
from app.stores.routes import Routes
from app.websocket.protocol import install
from app.websocket.proxy import WebSocketProxy
from tests.websocket.peers import KEY, Wire

HOST = b"ws.test"


class FixedRoutes(Routes):
    """One frontend for HOST, in memory; remembers what is marked."""

    ready = True

    def __init__(
        self, *urls: str, host: bytes = HOST, options: Mapping[str, str] = NO_OPTIONS
    ) -> None:
        self.host = host.decode()
        self.route = Route(parse_frontend(self.host, ["the-site", *urls], options))
        self.marked: list[tuple[str, str]] = []

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        return self.route if host == self.host else None

    async def find(self, host: str, target: bytes = b"/") -> Route:
        raise FrontendNotFound

    def mark_dead(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, share: bool = True
    ) -> None:
        self.marked.append((backend.url, mark.reason))

    def clear_mark(self, frontend: Frontend, backend: Backend) -> None:
        pass

    def marks_of(self, frontend: Frontend) -> Marks:
        return {}

    def announce(self, frontend: Frontend, backend: Backend) -> None:
        pass

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


@dataclass
class Proxy:
    """A running proxy."""

    port: int
    server: uvicorn.Server
    edge: Edge
    routes: FixedRoutes
    records: asyncio.Queue[AccessRecord]
    endpoint: WebSocketProxy
    wires: list[Wire] = field(default_factory=list)

    def connect(self, target: str = "/", **options: Any) -> connect:
        """The library's client; no compression unless asked for."""
        options = {"max_size": None, "compression": None, "proxy": None, **options}
        where = {"host": "127.0.0.1", "port": self.port}
        scheme = "wss" if "ssl" in options else "ws"
        return connect(f"{scheme}://{HOST.decode()}{target}", **where, **options)

    async def raw(self) -> Wire:
        """A connection on which nothing was sent."""
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port), mask=True)
        self.wires.append(wire)
        return wire

    async def ask(self, *fields: bytes, target: bytes = b"/", host: bytes = HOST) -> Wire:
        """A connection on which the handshake was sent."""
        wire = await self.raw()
        lines = [
            b"GET %b HTTP/1.1" % target,
            b"Host: " + host,
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: " + KEY,
            b"Sec-WebSocket-Version: 13",
            *fields,
        ]
        wire.write(b"\r\n".join(lines) + b"\r\n\r\n")
        return wire

    async def open(self, *fields: bytes, **options: Any) -> Wire:
        """A raw client's open WebSocket; its 101 is in `head`."""
        wire = await self.ask(*fields, **options)
        assert (await wire.read_head()).startswith(b"HTTP/1.1 101 "), wire.head
        return wire


@asynccontextmanager
async def proxying(
    *urls: str,
    mode: str = "tunnel",
    grace: float = 5,
    host: bytes = HOST,
    stock: bool = False,
    backend_ca: str | None = None,
    certificate: str | None = None,
    options: Mapping[str, str] = NO_OPTIONS,
    **keys: Any,
) -> AsyncIterator[Proxy]:
    """A proxy that routes `host` to these backends; `keys` are of `server`, as in the file.

    `stock`: under uvicorn's own protocol classes. `certificate` (PEM) is what the
    proxy shows to clients, `backend_ca` whom it trusts behind `https://`; `options` are
    the frontend's.
    """
    values = {"accessLog": None, "snapshot": None, "webSocketRelay": mode == "relay"} | keys
    file = {"server": values, "backendTLS": {"ca": backend_ca}, "admin": {"bind": None}}
    config = parse(json.dumps(file))
    routes = FixedRoutes(*urls, host=host, options=options)
    records: asyncio.Queue[AccessRecord] = asyncio.Queue()
    app = create_app(config, store=routes)
    options = {"timeout_graceful_shutdown": grace, "ssl_certfile": certificate}
    edge = Edge()
    server = await started(app, None if stock else config, edge, **options)
    endpoint: WebSocketProxy = app.router.default.websocket
    log = AccessLogObserver(records.put_nowait, lambda _, peer: peer, 0)
    endpoint._gateway.observers.ended += (log.ended,)  # in place of the file's writer
    port = server.servers[0].sockets[0].getsockname()[1]
    proxy = Proxy(port, server, edge, routes, records, endpoint)
    try:
        yield proxy
    finally:
        # Not the server's own shutdown, which sleeps: the tests of a drain call that.
        for listener in server.servers:
            listener.close()
        for wire in proxy.wires:
            wire.reset()
        for connection in tuple(server.server_state.connections):
            connection.transport.abort()
        await server.lifespan.shutdown()
        await asyncio.gather(*server.server_state.tasks)


async def started(
    app: ASGIApp, config: Config | None, edge: Edge, **options: Any
) -> uvicorn.Server:
    """A server that listens, as if it had been run; without `config` with stock protocols."""
    options = {"host": "127.0.0.1", "port": 0, "log_config": None, **options}
    settings = uvicorn_config(app, None if config is None else edge, **options)
    settings.load()
    if config is not None:
        install(settings, config.server)
    server = uvicorn.Server(settings)
    server.lifespan = settings.lifespan_class(settings)
    await server.startup()
    return server
