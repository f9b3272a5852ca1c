"""Lets the workers of one service share new connections evenly.

All workers wait for the same listening sockets, and the kernel wakes all of them. The one that
runs first takes as many connections as there are: often five or more of eight, where four workers
run. So a worker that has more connections than another one looks away from its listeners until the
others have caught up. All take from one queue as before: no connection is lost with a worker.

Open connections alone would mislead: beside workers that hold thousands of idle ones, one that has
just begun would get every new one, until it is as full as they are. So no worker looks away for
another one that has taken more lately.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from collections.abc import Callable, Sequence

from .shared_loads import SharedLoads, one_more

logger = logging.getLogger("hipache.server")

FIRST_LOOK, LAST_LOOK = 0.001, 0.02
"""Seconds until a worker that looks away sees what the others have, at first and later."""
PATIENCE = 0.025
"""Seconds that new connections may wait for the others: one that hangs must not cost more."""
TAKES_ALL = 1.0
"""Seconds for which a worker then takes what comes."""
SEE_OTHERS_EVERY = 0.25
"""Seconds until a worker knows of one that has begun or ended."""
MANY = 1 << 30


class AcceptShare:
    """One worker's part: when it looks away from its listeners, and when it looks again."""

    def __init__(
        self, loads: SharedLoads, row: int, listeners: Sequence[socket.socket], epoll: select.epoll
    ) -> None:
        """`row` is this worker's, `epoll` what its event loop waits for `listeners` with."""
        self._loads, self._row = loads, row
        self._counts, self._all_away, self._lately = loads.counts, loads.away, loads.lately
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
        self._gave_up = False
        self.on_company: Callable[[], None] = lambda: None
        """Called when it sees that it is no longer alone."""
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
        if loads is None or backend is None:
            return None
        try:
            epoll = select.epoll.fromfd(os.dup(backend()))
            row = loads.take_row()
        except OSError as exc:
            logger.warning("takes what connections come cause=%s", exc.strerror or exc)
            return None
        return cls(loads, row, listeners, epoll) if row is not None else None

    @property
    def alone(self) -> bool:
        """Whether it knows of no other worker."""
        return not (self._others or self._gave_up)

    def took(self, count: int) -> None:
        """There is one connection more: so many now."""
        self._counts[self._row] = count + 1
        self._lately[self._row] = one_more(self._lately[self._row], self._loop.time())
        if count >= self._enough and not self._away and self._has_too_many():
            self._look_away()

    def lost(self, count: int) -> None:
        """There is one connection less: so many now."""
        self._counts[self._row] = count + 1
        if self._away and not self._has_too_many():
            self._look_again()

    def close(self) -> None:
        """This worker takes no more connections."""
        self._stop_looking()
        self._epoll.close()
        self._loads.give_back(self._row)

    def _has_too_many(self) -> bool:
        """Whether another one has so much less that it should take the next ones."""
        ours, lately = self._counts[self._row], self._lately[self._row]
        enough = [
            (count + 1 + count // 8, self._lately[row])
            for row in self._others
            if (count := self._counts[row])  # else it has begun to drain
        ]
        self._enough = min(enough, default=(MANY, 0))[0]
        return any(ours > most and lately >= others for most, others in enough)

    def _all_others_are_away(self) -> bool:
        return all(self._all_away[row] or not self._counts[row] for row in self._others)

    def _look_away(self) -> None:
        self._all_away[self._row] = 1  # before the others are asked: they might do the same
        if self._all_others_are_away() or self._loop.time() < self._takes_all_until:
            self._all_away[self._row] = 0
            return
        self._away = True
        self._waited_since = None
        self._next_look = FIRST_LOOK
        self._look = self._loop.call_later(FIRST_LOOK, self._look_around)
        self._report(0)

    def _look_again(self) -> None:
        assert self._look is not None
        self._look.cancel()
        self._away = False
        self._all_away[self._row] = 0
        self._report(select.EPOLLIN)

    def _report(self, events: int) -> None:
        failed = None
        for file in self._files:
            try:
                self._epoll.modify(file, events)
            except FileNotFoundError:
                pass  # it does not accept: files are short
            except OSError as exc:
                failed = exc
        if failed is not None:
            self._give_up(failed)

    def _give_up(self, exc: OSError) -> None:
        """Take what comes from now on."""
        if self._gave_up:
            return
        self._gave_up = True
        logger.warning("takes what connections come cause=%s", exc.strerror or exc)
        self._stop_looking()
        self._enough = MANY
        if self._away:
            self._look_again()

    def _stop_looking(self) -> None:
        self._regular.cancel()
        if self._look is not None:
            self._look.cancel()

    def _look_around(self) -> None:
        """While away: have the others caught up, or do they not come to take what there is?"""
        if not self._has_too_many() or self._all_others_are_away():
            self._look_again()
            return
        self._next_look = min(2 * self._next_look, LAST_LOOK)
        self._look = self._loop.call_later(self._next_look, self._look_around)
        now = self._loop.time()
        if not self._queues.poll(0):
            self._waited_since = None
        elif self._waited_since is None:
            self._waited_since = now
        elif now - self._waited_since >= PATIENCE:
            self._takes_all_until = now + TAKES_ALL
            self._look_again()
            return
        self._report(0)  # again: a listener that was short of files may be back

    def _see_who_is_there(self) -> None:
        self._regular = self._loop.call_later(SEE_OTHERS_EVERY, self._see_who_is_there)
        try:
            others = self._loads.others(self._row)
        except OSError as exc:
            self._give_up(exc)
            return
        came, self._others = others and not self._others, others
        if came:
            self.on_company()
        if not self._away and self._has_too_many():
            self._look_away()
