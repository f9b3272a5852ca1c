"""A small HTTP server beside the proxy's, in the same event loop, on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from ..config.admin import AdminBind
from ..errors import ConfigError
from ..server.edge import ClientLimits, Edge
from ..server.listeners import ListenAddress, bind_all, close_all
from ..server.protocols import ProtocolFactory

logger = logging.getLogger("hipache.admin")

MAX_CONNECTIONS = 100
"""Open connections of clients: they must not use up the worker's file descriptors."""
RETRY = 1.0
"""Seconds between two attempts to bind: the sibling that has the port may end at any time."""


def bind_admin(bind: AdminBind) -> socket.socket:
    """The listening socket. Raises ConfigError."""
    return bind_all([ListenAddress(*bind.value)])[0]


class AdminListener:
    """Serves `app` on a socket that all workers share, or on one that this worker binds.

    Without `shared` the worker keeps trying to bind the port. Under a bare uvicorn
    one worker has it, and another takes it over when that one ends.
    """

    def __init__(
        self,
        app: ASGIApp,
        bind: AdminBind | None,
        shared: socket.socket | None,
        on_listening: Callable[[], None] = lambda: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """One of `bind` and `shared` is given. `tls` is for what is not the admin's own page."""
        self._app = app
        self._on_listening = on_listening
        self._bind = bind
        self._shared = shared
        self._tls = tls
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._sock: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self.address: str | None = None
        """The address it listens on; None while it does not listen."""
        self.bound: tuple[int, object] | None = None
        """The same address as the kernel reports it: family and name."""

    async def __aenter__(self) -> AdminListener:
        if self._shared is not None:
            await self._listen(self._shared)
        elif not await self._try_to_bind():
            self._task = asyncio.create_task(self._bind_later(), name="admin listener")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.stop_listening()
        if self._sock is not None:
            close_all([self._sock])
        for connection in list(self._state.connections):
            connection.shutdown()
        for task in list(self._state.tasks):
            task.cancel()

    def stop_listening(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _bind_later(self) -> None:
        while True:
            await asyncio.sleep(RETRY)
            if await self._try_to_bind(quiet=True):
                return

    async def _try_to_bind(self, *, quiet: bool = False) -> bool:
        assert self._bind is not None
        try:
            self._sock = bind_admin(self._bind)
        except ConfigError as exc:
            if not quiet:
                logger.info(
                    "admin listener not bound by this worker pid=%d cause=%s", os.getpid(), exc
                )
            return False
        await self._listen(self._sock)
        logger.info("admin listening address=%s", self.address)
        return True

    async def _listen(self, sock: socket.socket) -> None:
        config = Config(
            self._app, lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, ws="none", workers=1, interface="asgi3",
        )  # fmt: skip
        config.load()

        make_protocol = ProtocolFactory(Edge(ClientLimits(connections=MAX_CONNECTIONS)))

        def protocol() -> asyncio.Protocol:
            return make_protocol(config, self._state, {})

        loop = asyncio.get_running_loop()
        # Not create_unix_server: from Python 3.13 on, closing that removes the file of a socket
        # on which other workers listen.
        self._server = await loop.create_server(protocol, sock=sock, ssl=self._tls)
        name = sock.getsockname()
        self.bound = int(sock.family), name
        self._on_listening()
        self.address = f"unix:{name}" if isinstance(name, str) else str(ListenAddress(*name[:2]))
