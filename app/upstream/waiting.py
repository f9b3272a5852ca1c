"""The requests that wait for a free stream to one origin, in the order in which they are served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from ..errors import UpstreamBusy, UpstreamError
from .asker import Asker
from .backend_stream import BackendStream


class Waiter:
    """A request that waits since `since`; the pool gives it up at `due` (loop time).

    When it is `done` it has a free stream, None for the permission to connect, or an error.
    `Pool.claim`, `Pool.wait` or `Pool.dequeue` must follow, whatever becomes of it. No Future: one
    with its callback costs three times as much, and most who wait need no more than a call.
    """

    __slots__ = ("_on_done", "asker", "done", "due", "error", "since", "stream")

    def __init__(self, since: float, due: float, asker: Asker | None) -> None:
        self.since = since
        self.due = due
        self.asker = asker
        self.done = False
        self.stream: BackendStream | None = None
        self.error: UpstreamError | None = None
        self._on_done: Callable[[], object] | None = None

    def when_done(self, callback: Callable[[], object] | None) -> None:
        """Call `callback` once it is done, and nobody who was to be called before; None: nobody."""
        self._on_done = callback
        if self.done and callback is not None:
            callback()

    def give(self, stream: BackendStream | None) -> None:
        """Its turn has come."""
        self.stream = stream
        self._end()

    def refuse(self, error: UpstreamError) -> None:
        """It has waited in vain."""
        self.error = error
        self._end()

    def _end(self) -> None:
        self.done = True
        callback, self._on_done = self._on_done, None
        if callback is not None:
            callback()

    async def wait(self) -> BackendStream | None:
        """What it is given. Raises UpstreamError."""
        if not self.done:
            turn = asyncio.get_running_loop().create_future()
            self.when_done(partial(_wake, turn))
            await turn
        if self.error is not None:
            raise self.error
        return self.stream

    def waited(self, now: float) -> float:
        """Seconds until `now` (loop time). Tells the asker, too."""
        seconds = now - self.since
        if self.asker is not None:
            self.asker.waited(seconds)
        return seconds


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


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
        """Take out the first, with `behind` from those behind too."""
        if self.front:
            return self.front.popleft()
        return self.behind.popleft() if behind and self.behind else None

    def rearrange(self, is_behind: Callable[[Waiter], bool]) -> None:
        """Decide anew who stands behind."""
        waiters = sorted((*self.front, *self.behind), key=lambda waiter: waiter.since)
        self.front.clear()
        self.behind.clear()
        for waiter in waiters:
            (self.behind if is_behind(waiter) else self.front).append(waiter)

    def displace(self) -> bool:
        """Refuse the last of those behind, if there is one: somebody else needs its place."""
        if not self.behind:
            return False
        self.behind.pop().refuse(UpstreamBusy("too many wait for the backend"))
        return True

    def drop_overdue(self, now: float) -> None:
        """Refuse those whose time is over. The first in a line is the first of it that is due."""
        for line in (self.front, self.behind):
            while line and line[0].due <= now:
                line.popleft().refuse(UpstreamBusy())

    def fail_all(self, error: UpstreamError) -> None:
        """Refuse them all."""
        while (waiter := self.next_waiter(behind=True)) is not None:
            waiter.refuse(error)
