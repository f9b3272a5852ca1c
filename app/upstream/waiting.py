"""The requests that wait for a free stream to one origin, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque

from ..errors import UpstreamBusy, UpstreamError
from .backend_stream import BackendStream


class Waiter(asyncio.Future[BackendStream | None]):
    """A request that waits since `since`; the pool gives it up at `due` (loop time).

    Its result is a free stream, or None for the permission to connect. `Pool.wait` or
    `Pool.dequeue` must follow, whatever becomes of it.
    """

    def __init__(self, since: float, due: float) -> None:
        super().__init__()
        self.since = since
        self.due = due


class WaitingLine(deque[Waiter]):
    """The waiters of one pool, the first to be served at the left."""

    def next_waiter(self) -> Waiter | None:
        """Take out the first that was not cancelled."""
        while self:
            waiter = self.popleft()
            if not waiter.done():
                return waiter
        return None

    def drop_overdue(self, now: float) -> None:
        """Refuse those whose time is over. The first in the line is the first that is due."""
        while self and self[0].due <= now:
            waiter = self.popleft()
            if not waiter.done():
                waiter.set_exception(UpstreamBusy())

    def fail_all(self, error: UpstreamError) -> None:
        """Refuse them all."""
        while (waiter := self.next_waiter()) is not None:
            waiter.set_exception(error)
