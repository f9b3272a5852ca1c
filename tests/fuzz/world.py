"""The whole proxy between a client and a backend in memory, and what must hold at its end."""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import logging
import random
import signal
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import uvicorn

from app.config.structs import parse
from app.main import create_app
from app.server.running import edge_of, uvicorn_config
from tests.fuzz.memory import BACKEND, MemoryLoop, Transport, pair
from tests.websocket.serving import FixedRoutes

PATIENCE = 600.0
"""Seconds of the loop's own time; every limit of the proxy is far below."""


class Finding(Exception):
    """A promise was broken."""


class Client(asyncio.Protocol):
    """Keeps what it gets. `ended` tells how: True for a close in order, False for a reset."""

    transport: Transport

    def __init__(self) -> None:
        self.got = b""
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        if not self.ended.done():
            self.ended.set_result(True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc is None)


class _Complaints(logging.Handler):
    """Everything that a person would have to look after."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


class AnyHost(FixedRoutes):
    """Every host is routed to the same backends."""

    def known(self, host: str, target: bytes = b"/") -> Any:
        return self.route


class World:
    """One worker, started as uvicorn starts it, that lives for all cases."""

    def __init__(
        self, backend: Callable[[], asyncio.Protocol], *, keep: bool = False, **keys: Any
    ) -> None:
        """`backend` makes the other end of a connection to a backend; `keys` are of `server`.

        `keep`: the proxy's idle connections to it live on from case to case.
        """
        self.keep = keep
        self.loop = MemoryLoop()
        self.backend = backend
        self.backends: list[Transport] = []
        self.loop.dialled = self._dialled
        self.complaints = _Complaints()
        self.loop.set_exception_handler(
            lambda _, context: self.complaints.found.append(repr(context))
        )
        values = {"accessLog": None, "snapshot": None, "deadBackendTTL": 0} | keys
        config = parse(json.dumps({"server": values, "memory": {"limit": 0}}))
        self.app = create_app(config, store=AnyHost(BACKEND))
        self.server = uvicorn.Server(
            uvicorn_config(self.app, log_config=None, host="127.0.0.1", lifespan="on", loop="none")
        )
        self.loop.run_until_complete(self._start())
        atexit.register(self._end)  # a target keeps its world for all of its cases

    async def _start(self) -> None:
        config = self.server.config
        config.load()
        before = signal.signal(signal.SIGTERM, self.server.handle_exit)  # so that it is found
        self.server.lifespan = config.lifespan_class(config)
        await self.server.lifespan.startup()
        signal.signal(signal.SIGTERM, before)
        edge = edge_of(self.server)
        assert edge is not None
        self.edge = edge
        self.tasks = len(asyncio.all_tasks())
        self.gateway = self.app.router.default.http._gateway  # type: ignore[attr-defined]

    def _end(self) -> None:
        self.loop.run_until_complete(self.server.lifespan.shutdown())
        self.loop.close()

    def _dialled(self) -> asyncio.Protocol:
        protocol = self.backend()
        made = protocol.connection_made

        def connection_made(transport: Any) -> None:
            self.backends.append(transport)
            made(transport)

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        return protocol

    def connect(self) -> Client:
        """A new client's connection; call it inside the loop."""
        config, state = self.server.config, self.server.server_state
        protocol = config.http_protocol_class(  # type: ignore[call-arg, operator]
            config=config, server_state=state, app_state=self.server.lifespan.state
        )
        client = Client()
        pair(self.loop, protocol, client)
        return client

    def run(self, case: Coroutine[Any, Any, Any]) -> Any:
        """Its result. Raises Finding where anything is left over or was complained about."""
        logging.getLogger().addHandler(self.complaints)
        try:
            return self.loop.run_until_complete(self._judged(case))
        finally:
            logging.getLogger().removeHandler(self.complaints)

    async def _judged(self, case: Coroutine[Any, Any, Any]) -> Any:
        self.complaints.found.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                result = await case
        except TimeoutError:
            raise Finding("\n".join(["no end", *self.complaints.found])) from None
        if not self.keep:
            for transport in self.backends:
                transport.abort()
        self.backends.clear()
        await self.loop.settle()
        left = self.gateway.in_flight, len(self.edge.connections)
        if left != (0, 0) or len(asyncio.all_tasks()) > self.tasks:
            await asyncio.sleep(5)
            await self.loop.settle()
            left = self.gateway.in_flight, len(self.edge.connections)
            if left != (0, 0) or len(asyncio.all_tasks()) > self.tasks:
                names = sorted(task.get_name() for task in asyncio.all_tasks())
                raise Finding(f"in flight and connections: {left}, tasks: {names}")
        if random.random() < 0.002:
            gc.collect()  # a task or future destroyed with an exception complains then
        if self.complaints.found:
            raise Finding("\n".join(self.complaints.found))
        return result

    async def talk(self, pieces: list[bytes]) -> Client:
        """A client that sends, half-closes, and reads to the end."""
        client = self.connect()
        for piece in pieces:
            client.transport.write(piece)
            await self.loop.settle()
        client.transport.write_eof()
        await client.ended
        await self.loop.settle()
        return client

    async def leave(self, pieces: list[bytes], *, after: float) -> None:
        """A client that resets its connection, whatever has come so far."""
        client = self.connect()
        for piece in pieces:
            client.transport.write(piece)
            await self.loop.settle()
        await asyncio.sleep(after)
        client.transport.socket.resets = True
        client.transport.abort()
        await self.loop.settle()


def split(data: bytes, seed: int) -> list[bytes]:
    """In pieces, anywhere; 0 in one, 255 byte by byte."""
    if seed == 0 or len(data) < 2:
        return [data] if data else []
    if seed == 255 and len(data) < 600:
        return [data[i : i + 1] for i in range(len(data))]
    chance = random.Random(seed)
    places = sorted({chance.randrange(1, len(data)) for _ in range(chance.randrange(1, 6))})
    return [data[a:b] for a, b in pairwise([0, *places, len(data)])]
