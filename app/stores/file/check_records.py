"""What active checkers of a file store share: nothing but the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ..base import Checked, Pings, ShardLeases


class FileCheckRecords:
    """base.CheckRecords of a file: each worker has its own marks, so it checks for itself."""

    def __init__(self, table: Callable[[], list[Checked]]) -> None:
        """`table` gives all frontends there are now."""
        self._table = table

    async def listed(self, ours: Callable[[str], bool], *, every: bool) -> list[Checked]:
        """Those of the table that have a `healthcheck`, or all."""
        return [c for c in self._table() if (every or c.raw) and ours(c.frontend.key)]

    async def marked(self, keys: Sequence[str]) -> set[str]:
        """All: the worker knows its own marks, and asking it costs nothing."""
        return set(keys)

    async def hold(
        self, holder: str, seconds: float, shards: int, undone: Mapping[int, float]
    ) -> ShardLeases:
        """All of them, always."""
        now = time.time()
        return ShardLeases(now, dict.fromkeys(range(shards), now))

    async def release(self, holder: str) -> None:
        """Nothing to give back."""

    async def ping(self) -> None:
        """Nobody listens."""

    async def pings(self) -> Pings:
        """Nobody can leave one."""
        return Pings()
