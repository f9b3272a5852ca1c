"""A budget for parsing frames: thousands of sockets that speak at once do not hold up the loop.

Parsing a frame takes ten microseconds and more. The loop reads every socket that has
data before it looks at its timers: a broadcast to 5,000 sockets would delay timers,
health checks and the worker's sign of life.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

PARSING_BUDGET = 0.005
"""Seconds of parsing in one turn of the loop. Acting on it costs about as much again."""

SLICE = 16384
"""Bytes parsed at once: of the smallest frames 8,192, which take a tenth of a second."""


class ReadBudget:
    """The time for parsing in one turn of the loop. Work beyond it waits, in order."""

    __slots__ = ("_end", "_running", "_waiting")

    def __init__(self) -> None:
        self._end = 0.0
        self._running = False
        self._waiting: deque[Callable[[], None]] = deque()

    def is_spent(self) -> bool:
        """Whether the budget of this turn is used up."""
        if self._running:
            return monotonic() > self._end
        self._begin()
        return False

    def defer(self, work: Callable[[], None]) -> None:
        """Do `work` in a later turn."""
        self._waiting.append(work)
        if not self._running:
            self._begin()

    def _begin(self) -> None:
        self._running = True
        self._end = monotonic() + PARSING_BUDGET
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._running = False
        if not self._waiting:
            return
        self._begin()
        while self._waiting and monotonic() <= self._end:
            self._waiting.popleft()()


class FairReader:
    """A protocol whose `take` gets the bytes received, in slices and within a ReadBudget.

    While bytes wait, reading from the connection is paused.
    """

    transport: asyncio.Transport
    budget: ReadBudget
    late: bytes = b""
    """Received, not yet taken."""

    def take(self, data: bytes) -> None:
        """Parse the next bytes."""
        raise NotImplementedError

    def is_full(self) -> bool:
        """Whether reading is paused for another reason."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self.late or len(data) > SLICE or self.budget.is_spent():
            if not self.late:
                self.budget.defer(self._take_late)
            self.late += data
            self.transport.pause_reading()
        else:
            self.take(data)

    def take_all(self) -> None:
        """The connection has ended: parse what still waits."""
        if late := self.late:
            self.late = b""
            self.take(late)

    def _take_late(self) -> None:
        while self.late:
            data, self.late = self.late[:SLICE], self.late[SLICE:]
            self.take(data)
            if self.transport.is_closing():
                self.late = b""  # no answer can be sent
            elif not self.late:
                if not self.is_full():
                    self.transport.resume_reading()
            elif self.budget.is_spent():
                self.budget.defer(self._take_late)
                return
