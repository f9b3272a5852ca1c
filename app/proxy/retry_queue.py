"""Retries in line: how many may run at once, and who is next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class RetryBudget:
    """Keeps an outage from doubling the load: few retries at once, in one worker."""

    __slots__ = ("_minimum", "_share", "running")

    def __init__(self, share: float = 0.2, minimum: int = 3) -> None:
        """At most `share` of the requests in flight are retries, or `minimum` if that is more."""
        self._share = share
        self._minimum = minimum
        self.running = 0

    def take(self, in_flight: int) -> bool:
        """Begin a retry, of `in_flight` requests in this worker; False if there are too many."""
        if self.running >= max(self._minimum, int(self._share * in_flight)):
            return False
        self.running += 1
        return True

    def give_back(self) -> None:
        """End a retry."""
        self.running -= 1


class RetryQueue:
    """The retry budget, with a queue: a retry beyond the budget waits its turn, it does not fail.

    When one of three backends dies, a third of the requests in flight fail at the
    same moment. The other backends can serve them all, but not all at once.
    """

    def __init__(self, timeout: float, in_flight: Callable[[], int]) -> None:
        """`timeout`: the most seconds that a retry waits, 0 for no limit; `in_flight`: this
        worker's requests, which the budget depends on."""
        self._timeout = timeout or None
        self._in_flight = in_flight
        self._budget = RetryBudget()
        self._queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> bool:
        """Take a turn, or wait for one; False if none came in time. `leave` must follow a True."""
        if self._budget.take(self._in_flight()):
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._timeout):
                await turn
        except TimeoutError:
            if not turn.done() or turn.cancelled():
                return False
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the turn came at the moment of the cancellation
            raise
        return True

    def leave(self) -> None:
        """Pass the turn on to the retry that has waited longest."""
        self._budget.give_back()
        while self._queue and self._budget.take(self._in_flight()):
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
            self._budget.give_back()
