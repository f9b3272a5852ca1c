"""What active checkers of a file store share: nothing but the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..base import Checked, Pings


class FileCheckRecords:
    """base.CheckRecords of a file: each worker has its own marks, so it checks for itself."""

    def __init__(self, table: Callable[[], list[Checked]]) -> None:
        """`table` gives all frontends there are now."""
        self._table = table

    async def listed(self, *, every: bool) -> list[Checked]:
        """Those of the table that have a `healthcheck`, or all."""
        return [checked for checked in self._table() if every or checked.raw]

    async def marked(self, keys: Sequence[str]) -> set[str]:
        """All: the worker knows its own marks, and asking it costs nothing."""
        return set(keys)

    async def hold(self, holder: str, seconds: float) -> bool:
        """Always."""
        return True

    async def release(self, holder: str) -> None:
        """Nothing to give back."""

    async def ping(self) -> None:
        """Nobody listens."""

    async def pings(self) -> Pings:
        """Nobody can leave one."""
        return Pings()
