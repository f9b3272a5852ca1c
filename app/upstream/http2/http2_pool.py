"""A pool whose requests share connections of HTTP/2."""

from __future__ import annotations

from typing import Any

from ..backend_stream import PooledConnection
from ..pool import Pool
from .multiplexer import Multiplexer


class Http2Pool(Pool):
    """What it keeps and counts are places for requests: `maxSockets` bounds those."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        limits = self.limits
        self._multiplexer = Multiplexer(
            self, self._dialler.connect, most=limits.max_sockets, limit=limits.connect
        )

    def close(self) -> None:
        super().close()
        self._multiplexer.close()

    async def _make_connection(self) -> PooledConnection:
        return await self._multiplexer.place()
