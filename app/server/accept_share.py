"""Lets the workers of one service share new connections evenly.

All workers wait for the same listening sockets, and the kernel wakes all of them. The one that
runs first takes as many connections as there are: often five or more of eight, where four workers
run. So a worker that has more connections than another one looks away from its listeners until the
others have caught up. All take from one queue as before: no connection is lost with a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import select
import socket
from collections.abc import Sequence

ROWS = 512
"""Workers, those that drain included, that can be told apart. More of them just take what comes."""
FIRST_LOOK, LAST_LOOK = 0.001, 0.02
"""Seconds until a worker that looks away sees what the others have, at first and later."""
PATIENCE = 0.025
"""Seconds that new connections may wait for the others: one that hangs must not cost more."""
TAKES_ALL = 1.0
"""Seconds for which a worker then takes what comes."""
SEE_OTHERS_EVERY = 0.25
"""Seconds until a worker knows of one that has begun or ended."""
MANY = 1 << 30


class SharedLoads:
    """How many connections each worker has, in memory that they share. Made before they are.

    The lock on a row says whose it is; the kernel gives it back when the worker ends.
    """

    def __init__(self) -> None:
        """Raises OSError."""
        self._file = os.memfd_create("hipache-loads")
        os.ftruncate(self._file, ROWS * 5)
        self._memory = memoryview(mmap.mmap(self._file, ROWS * 5))
        self.counts = self._memory[: ROWS * 4].cast("i")
        """Connections and one more; 0 in a row that belongs to nobody."""
        self.away = self._memory[ROWS * 4 :]
        """Whether that worker looks away."""

    @classmethod
    def made(cls) -> SharedLoads | None:
        """None where the system has no such memory, or no epoll to look away with."""
        if not (hasattr(os, "memfd_create") and hasattr(select, "epoll")):
            return None
        return cls()

    def take_row(self) -> int | None:
        """A row for this process; None if all are taken."""
        for row in range(ROWS):
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
                self.away[row] = 0
                self.counts[row] = 1
                return row
        return None

    def give_back(self, row: int) -> None:
        """This process takes no more connections."""
        self.counts[row] = 0
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)

    def others(self, row: int) -> list[int]:
        """The rows of all other workers that take connections."""
        return [each for each, count in enumerate(self.counts) if count and self._lives(each, row)]

    def _lives(self, row: int, ours: int) -> bool:
        if row == ours:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, row)
        except BlockingIOError:
            return True
        self.counts[row] = 0  # it was killed
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)
        return False


class AcceptShare:
    """One worker's part: when it looks away from its listeners, and when it looks again."""

    def __init__(
        self, loads: SharedLoads, row: int, listeners: Sequence[socket.socket], epoll: select.epoll
    ) -> None:
        """`row` is this worker's, `epoll` what its event loop waits for `listeners` with."""
        self._loads, self._row = loads, row
        self._counts, self._all_away = loads.counts, loads.away
        self._files = [sock.fileno() for sock in listeners]
        self._epoll = epoll
        self._queues = select.poll()
        for file in self._files:
            self._queues.register(file, select.POLLIN)
        self._loop = asyncio.get_running_loop()
        self._others: list[int] = []
        self._enough = MANY  # for the number in its row, when it looked last
        self._away = False
        self._next_look = FIRST_LOOK
        self._waited_since: float | None = None
        self._takes_all_until = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._regular = self._loop.call_later(0, self._see_who_is_there)

    @classmethod
    def of(
        cls, loads: SharedLoads | None, listeners: Sequence[socket.socket]
    ) -> AcceptShare | None:
        """This worker's part, once its event loop accepts on `listeners`; None where it just takes
        what comes.

        uvloop has no way to accept nothing for a while. But what its epoll(7) reports of a socket
        can be changed behind its back: it tells the kernel only once what it waits for.
        """
        backend = getattr(asyncio.get_running_loop(), "_get_backend_id", None)
        if loads is None or backend is None or (row := loads.take_row()) is None:
            return None
        return cls(loads, row, listeners, select.epoll.fromfd(os.dup(backend())))

    @property
    def alone(self) -> bool:
        """Whether it knows of no other worker."""
        return not self._others

    def took(self, count: int) -> None:
        """There is one connection more: so many now."""
        self._counts[self._row] = count + 1
        if count >= self._enough and not self._away and self._has_too_many():
            self._look_away()

    def lost(self, count: int) -> None:
        """There is one connection less: so many now."""
        self._counts[self._row] = count + 1
        if self._away and not self._has_too_many():
            self._look_again()

    def close(self) -> None:
        """This worker takes no more connections."""
        self._regular.cancel()
        if self._look is not None:
            self._look.cancel()
        self._epoll.close()
        self._loads.give_back(self._row)

    def _has_too_many(self) -> bool:
        """Whether another one has so much less that it should take the next ones."""
        counts = self._counts
        least = min([counts[row] for row in self._others], default=MANY)
        self._enough = least + 1 + least // 8
        return counts[self._row] > self._enough

    def _all_others_are_away(self) -> bool:
        return all(self._all_away[row] for row in self._others)

    def _look_away(self) -> None:
        self._all_away[self._row] = 1  # before the others are asked: they might do the same
        if self._all_others_are_away() or self._loop.time() < self._takes_all_until:
            self._all_away[self._row] = 0
            return
        self._away = True
        self._report(0)
        self._waited_since = None
        self._next_look = FIRST_LOOK
        self._look = self._loop.call_later(FIRST_LOOK, self._look_around)

    def _look_again(self) -> None:
        assert self._look is not None
        self._look.cancel()
        self._away = False
        self._all_away[self._row] = 0
        self._report(select.EPOLLIN)

    def _report(self, events: int) -> None:
        for file in self._files:
            with contextlib.suppress(FileNotFoundError):  # it does not accept: files are short
                self._epoll.modify(file, events)

    def _look_around(self) -> None:
        """While away: have the others caught up, or do they not come to take what there is?"""
        if not self._has_too_many() or self._all_others_are_away():
            self._look_again()
            return
        now = self._loop.time()
        if not self._queues.poll(0):
            self._waited_since = None
        elif self._waited_since is None:
            self._waited_since = now
        elif now - self._waited_since >= PATIENCE:
            self._takes_all_until = now + TAKES_ALL
            self._look_again()
            return
        self._next_look = min(2 * self._next_look, LAST_LOOK)
        self._look = self._loop.call_later(self._next_look, self._look_around)

    def _see_who_is_there(self) -> None:
        self._others = self._loads.others(self._row)
        if not self._away and self._has_too_many():
            self._look_away()
        self._regular = self._loop.call_later(SEE_OTHERS_EVERY, self._see_who_is_there)
