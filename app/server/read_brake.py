"""Stops all reading where one turn of the loop brings more of bodies than it ought to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

MOST = 8 * 2**20
"""Bytes of bodies that one turn may bring to requests that have not run yet."""


class Braked(Protocol):
    """A connection that reads."""

    def brake(self) -> None:
        """Read nothing until `go_on`, whatever else the connection wants."""

    def go_on(self) -> None:
        """Read again, unless the connection itself does not want to."""


class ReadBrake:
    """Counts the bytes of bodies whose requests have had no say yet.

    The loop reads everything that has arrived before it runs a task. So the bodies of
    thousands of uploads would be in memory before the first of their requests could hold,
    send on or refuse its own. Beyond `most` bytes the rest stays with the kernel until those
    requests have run.
    """

    __slots__ = ("_braked", "_connections", "_size", "most")

    def __init__(self, connections: Iterable[Braked]) -> None:
        self.most = MOST
        self._connections = connections
        self._braked: list[Braked] = []
        self._size = 0

    def count(self, size: int) -> bool:
        """`size` bytes of such a body came. True: they may always wait this one turn."""
        if not self._size:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._size += size
        if self._size > self.most and not self._braked:
            self._braked = list(self._connections)
            for connection in self._braked:
                connection.brake()
        return True

    def _end_turn(self) -> None:
        """Nothing is read before all that is ready has run, the requests of this turn too."""
        self._size = 0
        braked, self._braked = self._braked, []
        for connection in braked:
            connection.go_on()
