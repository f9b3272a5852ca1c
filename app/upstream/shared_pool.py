"""Pools whose `maxSockets` counts for all workers of the proxy together.

Each connection needs a place of those that the workers share. A worker that has requests waiting,
and no place, says so: those who have a free connection close it, and who gives a place back tells
those who wait. Nobody looks again and again; the sweep does once, for places of killed workers.

A worker serves its own queue first, for that costs no new connection, until another has waited
for PATIENCE longer than the first of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..system.shared_places import SharedPlaces
from ..system.worker_team import WorkerTeam
from .asker import Asker
from .backend_stream import NEVER, BackendStream, PooledConnection
from .dialling import Origin
from .pool import Pool
from .waiting import Waiter

PATIENCE = 0.1
"""Seconds by which another worker must have waited longer than ours."""
LONGEST_WAIT = 60.0
"""Seconds after which a worker whose requests may wait for ever counts as held up."""


class SharedPool(Pool):
    """Never more connections than it has places."""

    def __init__(
        self, team: WorkerTeam, origin: Origin, limits: Any, tls: Any,
        on_unused: Callable[[Origin], None], *rest: Any, **options: Any,
    ) -> None:  # fmt: skip
        """As Pool, for a worker of `team`. Raises OSError."""
        self._team = team
        self._subject = hashlib.sha256(repr(origin).encode()).hexdigest()[:32].encode()
        self._places = SharedPlaces(team, self._subject.decode(), limits.max_sockets)
        self._leaving = 0
        self._longest = limits.queue + 1 if limits.queue != NEVER else LONGEST_WAIT
        team.hear(self._subject, self._heard)

        def unused(origin: Origin) -> None:
            self._leave()
            on_unused(origin)

        super().__init__(origin, limits, tls, unused, *rest, **options)

    def queue(self, asker: Asker | None) -> Waiter | None:
        """As Pool.queue. Others hear of it where it has to wait."""
        waiter = super().queue(asker)
        if waiter is not None and not waiter.done:
            self._settle()
        return waiter

    def dequeue(self, waiter: Waiter) -> None:
        super().dequeue(waiter)
        self._settle()

    def sweep(self, now: float) -> None:
        super().sweep(now)
        if self._queue and not self._closed:
            self._places.take_from_dead()
            self._serve_waiters()
        self._settle()

    def close(self) -> None:
        super().close()
        self._leave()

    def on_available(self, stream: BackendStream) -> None:
        self._available.append(stream)
        if self._closed:
            return
        if self._queue or self._places.others_wait_since(self._longest) is not None:
            self._serve_waiters()

    def on_closed(self, connection: PooledConnection) -> None:
        self._leaving = max(0, self._leaving - 1)
        super().on_closed(connection)

    # -- inside

    @property
    def _free(self) -> int:
        free = self._spare + len(self._available)
        return free + 1 if free <= 0 and self._take_place() else free

    def _may_connect(self) -> bool:
        return self._spare > 0 or self._take_place()

    @property
    def _spare(self) -> int:
        """Places that have no connection yet."""
        return self._places.held - self.connections

    def _take_place(self) -> bool:
        if self._closed or self._others_first(monotonic()):
            return False
        return self._places.take()

    def _others_first(self, now: float) -> bool:
        """Whether another worker has waited longer than ours; then it is told to look."""
        since = self._places.others_wait_since(self._longest)
        if since is None or since >= self._waiting_since(now) - PATIENCE:
            return False
        self._places.tell_waiting(self._subject)  # those who are dead do not count any more
        since = self._places.others_wait_since(self._longest)
        return since is not None and since < self._waiting_since(now) - PATIENCE

    def _waiting_since(self, now: float) -> float:
        firsts = [line[0].since for line in (self._queue.front, self._queue.behind) if line]
        return min(firsts, default=now)

    def _serve_waiters(self) -> None:
        if self._closed:
            return
        self._let_go()
        if self._spare > 0 and self._others_first(monotonic()):
            self._give_back_spare()
        super()._serve_waiters()
        self._settle()

    def _let_go(self) -> None:
        """Close a free connection where a worker waits that comes first."""
        if not self._available or self._leaving or self._places.any_free:
            return
        since = self._places.others_wait_since(self._longest)
        if since is None or (self._queue and not self._others_first(monotonic())):
            return
        self._leaving += 1
        self._available.popleft().abort()

    def _settle(self) -> None:
        """Give places back that nobody here needs, and say whether somebody waits."""
        if self._closed:
            return
        self._give_back_spare()
        waits = self._waiting_since(0.0) if self._queue else 0.0
        if self._places.wait_since(waits) and waits:
            self._places.tell_holders(self._subject)

    def _give_back_spare(self) -> None:
        if self._spare > 0:
            while self._spare > 0:
                self._places.give_back()
            self._places.tell_waiting(self._subject)

    def _heard(self, word: bytes) -> None:
        """Somebody waits for a place, or one may be free."""
        self._serve_waiters()

    @property
    def _closed(self) -> bool:
        return self._places.closed

    def _leave(self) -> None:
        if not self._closed:
            self._team.hear_no_more(self._subject)
            while self._places.held:
                self._places.give_back()
            self._places.tell_waiting(self._subject)
            self._places.close()
