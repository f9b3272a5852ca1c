"""A pool whose requests share connections of HTTP/2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend_stream import PooledConnection
from ..pool import Pool
from .multiplexed_connection import MultiplexedConnection
from .multiplexer import Multiplexer
from .negotiation import Connection, negotiated


class Http2Pool(Pool):
    """What it keeps and counts are places for requests: `maxSockets` bounds those.

    A connection of HTTP/1.1, where a backend with TLS chose that, is one place.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._multiplexer = Multiplexer(self, self._dial, self.limits)

    def sweep(self, now: float) -> None:
        super().sweep(now)
        self._multiplexer.sweep(now)

    def close(self) -> None:
        super().close()
        self._multiplexer.close()

    async def _make_connection(self) -> PooledConnection:
        return await self._multiplexer.place()

    async def _dial(self, http2: Callable[[], MultiplexedConnection]) -> Connection:
        return await negotiated(self._dialler, http2, self._new_connection)
