"""Requests to switch protocols: each on a connection of its own, outside the pools."""

from __future__ import annotations

import asyncio
from typing import cast

from ..errors import BackendForbidden, UpstreamUnreachable
from ..fields.headers import RawHeaders
from ..frontends.backends import ALPN, HTTP2
from ..routing import Backend
from .answer import Answer
from .backend_connection import BackendConnection
from .backend_stream import NEVER, BackendStream, Owner, PooledConnection
from .destinations import Destinations
from .dialling import connect
from .limits import PoolLimits
from .sweeper import Sweeper
from .tls_contexts import ContextSource


class UpgradeConnection(BackendConnection):
    """A connection that another protocol may go on with, once the backend has answered 101."""

    __slots__ = ()

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(owner, loop)
        self._parser.may_switch = True

    def release(self) -> asyncio.Transport:
        """Stop reading and all deadlines: the owner of the transport goes on from here."""
        self.pause()
        return cast(asyncio.Transport, self._transport)


class UpgradeAnswer(Answer):
    """The answer to a request to switch protocols: a 101, or a refusal like any other answer."""

    __slots__ = ("_connection", "transport")

    transport: asyncio.Transport
    """After a 101: the connection, with reading paused. It may be closing already."""

    def __init__(self, connection: UpgradeConnection) -> None:
        super().__init__(connection)
        self._connection = connection

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        super().on_head(status, reason, headers)
        if status == 101:
            self.transport = self._connection.release()

    @property
    def first(self) -> bytes:
        """What came behind the head of a 101."""
        return b"".join(self._chunks)


class Upgrades:
    """Asks backends to switch protocols. The Owner of connections until they have."""

    def __init__(
        self,
        limits: PoolLimits,
        tls: ContextSource,
        destinations: Destinations,
    ) -> None:
        self.tcp_timeout = limits.tcp
        self.response_timeout = limits.response
        self.idle_timeout, self.max_age = NEVER, 0.0  # none serves a second request
        self._connect_timeout = limits.connect
        self._tls = tls
        self._destinations = destinations
        self._open: set[PooledConnection] = set()
        self._sweeper = Sweeper(limits.step, self._sweep)

    async def ask(self, backend: Backend, target: bytes, headers: RawHeaders) -> UpgradeAnswer:
        """GET `target` with exactly these fields; returns when the head of the answer is there.

        Raises UpstreamError.
        """
        origin = backend.origin
        if backend.scheme == ALPN:
            origin = ("https", backend.host, backend.port)  # a handshake of HTTP/1.1
        elif backend.scheme in HTTP2:
            raise BackendForbidden("WebSockets to a backend with h2c are not supported")
        connection = await connect(
            origin, self._new_connection, self._tls, self._connect_timeout,
            self._destinations,
        )  # fmt: skip
        if not connection.is_available:
            raise UpstreamUnreachable("the backend closed the connection at once")
        self._open.add(connection)
        self._sweeper.start()
        answer = UpgradeAnswer(connection)
        connection.begin(answer, b"GET", target, headers)
        await answer.wait_for_head()
        if answer.status == 101:
            self._open.discard(connection)
        return answer

    # -- stream.Owner

    def on_available(self, stream: BackendStream) -> None:
        stream.abort()

    def on_closed(self, connection: PooledConnection) -> None:
        self._open.discard(connection)

    # -- inside

    def _new_connection(self) -> UpgradeConnection:
        return UpgradeConnection(self, asyncio.get_running_loop())

    def _sweep(self, now: float) -> bool:
        for connection in tuple(self._open):
            if connection.deadline <= now and not connection.is_idle:
                connection.expire(now)
        return bool(self._open)
