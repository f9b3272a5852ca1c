"""The requests that wait for a free stream to one origin, in the order in which they are served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..errors import UpstreamBusy, UpstreamError
from .asker import Asker
from .backend_stream import BackendStream


class Waiter(asyncio.Future[BackendStream | None]):
    """A request that waits since `since`; the pool gives it up at `due` (loop time).

    Its result is a free stream, or None for the permission to connect. `Pool.wait` or
    `Pool.dequeue` must follow, whatever becomes of it.
    """

    def __init__(self, since: float, due: float, asker: Asker | None) -> None:
        super().__init__()
        self.since = since
        self.due = due
        self.asker = asker

    def waited(self, now: float) -> float:
        """Seconds until `now` (loop time). Tells the asker, too."""
        seconds = now - self.since
        if self.asker is not None:
            self.asker.waited(seconds)
        return seconds


class WaitingLine:
    """The waiters of one pool: those in front as they came, then those behind as they came."""

    def __init__(self) -> None:
        self.front: deque[Waiter] = deque()
        self.behind: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self.front) + len(self.behind)

    def remove(self, waiter: Waiter) -> None:
        """Take `waiter` out, if its turn has not come yet."""
        for line in (self.front, self.behind):
            if waiter in line:
                line.remove(waiter)

    def next_waiter(self, *, behind: bool) -> Waiter | None:
        """Take out the first that was not cancelled, with `behind` from those behind too."""
        for line in (self.front, self.behind) if behind else (self.front,):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    return waiter
        return None

    def rearrange(self, is_behind: Callable[[Waiter], bool]) -> None:
        """Decide anew who stands behind."""
        waiters = sorted((*self.front, *self.behind), key=lambda waiter: waiter.since)
        self.front.clear()
        self.behind.clear()
        for waiter in waiters:
            (self.behind if is_behind(waiter) else self.front).append(waiter)

    def displace(self) -> bool:
        """Refuse the last of those behind, if there is one: somebody else needs its place."""
        while self.behind:
            waiter = self.behind.pop()
            if not waiter.done():
                waiter.set_exception(UpstreamBusy("too many wait for the backend"))
                return True
        return False

    def drop_overdue(self, now: float) -> None:
        """Refuse those whose time is over. The first in a line is the first of it that is due."""
        for line in (self.front, self.behind):
            while line and line[0].due <= now:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_exception(UpstreamBusy())

    def fail_all(self, error: UpstreamError) -> None:
        """Refuse them all."""
        while (waiter := self.next_waiter(behind=True)) is not None:
            waiter.set_exception(error)
