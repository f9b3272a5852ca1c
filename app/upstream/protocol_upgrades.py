"""Requests to switch protocols: each on a connection of its own, outside the pools."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from ..errors import UpstreamUnreachable, WebSocketsUnsupported
from ..fields.headers import RawHeaders
from ..frontends.backends import ALPN
from ..routing import Backend
from .answer import Answer
from .backend_connection import BackendConnection
from .backend_stream import NEVER, BackendStream, Owner, PooledConnection
from .destinations import Destinations
from .dialling import Dialler, Origin
from .limits import PoolLimits
from .pools import uses_http2
from .sweeper import Sweeper
from .tls_contexts import ContextSource


class SwitchingConnection(BackendStream, PooledConnection, Protocol):
    """Carries a request to switch protocols."""

    def release(self) -> asyncio.Transport:
        """After a 101: what another protocol goes on with, reading paused."""


REMEMBERED = 60.0
"""Seconds in which a backend that takes no WebSockets over HTTP/2 is not asked for any."""


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

    def __init__(self, connection: SwitchingConnection) -> None:
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
        self._without: dict[Origin, float] = {}  # until when it is remembered
        self._sweeper = Sweeper(limits.step, self._sweep)

    async def ask(self, backend: Backend, target: bytes, headers: RawHeaders) -> UpgradeAnswer:
        """GET `target` with exactly these fields; returns when the head of the answer is there.

        Over HTTP/2 it is told as it would be over HTTP/1.1. Raises UpstreamError.
        """
        connection = await self._connection(backend)
        if not connection.is_available():
            raise UpstreamUnreachable("the backend closed the connection at once")
        self._open.add(connection)
        self._sweeper.start()
        answer = UpgradeAnswer(connection)
        try:
            connection.begin(answer, b"GET", target, headers)
        except BaseException:
            connection.abort()
            raise
        await answer.wait_for_head()
        if answer.status == 101 and isinstance(connection, UpgradeConnection):
            self._open.discard(connection)
        return answer

    # -- stream.Owner

    def on_available(self, stream: BackendStream) -> None:
        stream.abort()

    def on_closed(self, connection: PooledConnection) -> None:
        self._open.discard(connection)

    # -- inside

    async def _connection(self, backend: Backend) -> SwitchingConnection:
        origin = backend.origin
        if uses_http2(backend.scheme):
            if (tunnel := await self._over_http2(origin)) is not None:
                return tunnel
            if backend.scheme != ALPN:
                raise WebSocketsUnsupported(
                    f"{WebSocketsUnsupported.message}: its SETTINGS lack ENABLE_CONNECT_PROTOCOL"
                )
        if backend.scheme == ALPN:
            origin = ("https", backend.host, backend.port)
        return await self._dialler(origin).connect(self._new_connection)

    async def _over_http2(self, origin: Origin) -> SwitchingConnection | None:
        """None: the backend takes no WebSockets over HTTP/2."""
        from .http2.backend_tunnel import open_tunnel  # its engine may not be installed

        now = asyncio.get_running_loop().time()
        if self._without.get(origin, 0.0) > now:
            return None
        made = await open_tunnel(self._dialler(origin), self, self._new_connection)
        if made is None:
            self._without[origin] = now + REMEMBERED
            self._sweeper.start()
        return cast("SwitchingConnection | None", made)

    def _dialler(self, origin: Origin) -> Dialler:
        return Dialler(origin, self._tls, self._connect_timeout, self._destinations)

    def _new_connection(self) -> UpgradeConnection:
        return UpgradeConnection(self, asyncio.get_running_loop())

    def _sweep(self, now: float) -> bool:
        for connection in tuple(self._open):
            if connection.deadline <= now and not connection.is_idle:
                connection.expire(now)
        if self._without:
            self._without = {each: due for each, due in self._without.items() if due > now}
        return bool(self._open or self._without)
