"""A pool whose requests share connections of HTTP/2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...frontends.backends import ALPN
from ..backend_stream import PooledConnection
from ..pool import Pool
from .multiplexed_connection import MultiplexedConnection
from .multiplexer import Multiplexer
from .negotiation import Connection, Negotiation


class Http2Pool(Pool):
    """What it keeps and counts are places for requests: `maxSockets` bounds those.

    A connection of HTTP/1.1, where a backend with TLS chose that, is one place.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        limits = self.limits
        self._multiplexer = Multiplexer(
            self, self._dial, most=limits.max_sockets, limit=limits.connect, ping=limits.ping
        )

    def sweep(self, now: float) -> None:
        super().sweep(now)
        self._multiplexer.sweep(now)

    def close(self) -> None:
        super().close()
        self._multiplexer.close()

    async def _make_connection(self) -> PooledConnection:
        return await self._multiplexer.place()

    async def _dial(self, http2: Callable[[], MultiplexedConnection]) -> Connection:
        if self.origin[0] != ALPN:
            return await self._dialler.connect(http2)
        made = await self._dialler.connect(lambda: Negotiation(http2, self._new_connection))
        return made.chosen
