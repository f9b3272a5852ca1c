"""High rates without a trip for each request: a worker takes requests of a client ahead.

A worker asks Redis for as many requests as it expects in the next AHEAD seconds, at most ASKS
times a second for each client of a frontend, and lets them pass without asking again; what it has
not used after KEPT seconds it gives back. Redis hands out no more than the rate, and only what it
has handed out passes, so the sum of all workers is right in the long run. What workers have in
hand is all by which a shorter time may differ, and that is a fraction of AHEAD seconds' requests.
"""

from __future__ import annotations

import asyncio
import math

from ...frontends.rates import Rate, take
from .shared_rates import RedisRates

AHEAD = 0.1
"""Seconds that a slice should do for."""
ASKS = Rate(1 / 15, 5)
"""How often a worker asks: never more than 20 times in any second."""
GROWTH = 4
"""How many times as much as the last slice the next one may be: a burst soon gets all it needs."""
KEPT = 0.25
"""Seconds after which what is left of a slice is given back."""
SLOWEST = 0.05
"""Seconds between requests: slower rates are counted one by one."""
SMALLEST_BURST = 0.25
"""Seconds of requests that may come at once: a smaller burst would not last from one slice to the
next, and less than the rate would pass."""


def is_sliced(rate: Rate) -> bool:
    """Whether it is high enough, and steady enough, to be taken ahead.

    >>> is_sliced(Rate(0.01, 100)), is_sliced(Rate(0.01, 10)), is_sliced(Rate(0.1, 10))
    (True, False, False)
    """
    return rate.interval <= SLOWEST and rate.interval * rate.burst >= SMALLEST_BURST


class Slice:
    """What a worker has in hand for one client of one frontend."""

    __slots__ = (
        "asked", "asking", "asks_due", "left", "ran_out", "rate", "scarce", "used", "waiting",
        "want",
    )  # fmt: skip

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.left = 0
        self.used = 0
        """Since the last question."""
        self.want = 1
        """How many the last question was for."""
        self.asked = -math.inf
        self.ran_out = 0.0
        """When somebody had to wait first; `asked`: when the last question was asked."""
        self.asks_due = 0.0
        self.scarce = False
        """Redis had fewer than were wanted."""
        self.waiting: list[asyncio.Future[float | None]] = []
        self.asking: asyncio.Task[None] | None = None

    def too_soon(self, now: float) -> float:
        """Seconds until the next question may be asked."""
        return max(0.0, self.asks_due - ASKS.tolerance - now)

    def size(self) -> int:
        """How many to ask for: those who wait, or as many as are expected."""
        expected = math.ceil(self.used / max(self.ran_out - self.asked, 1e-3) * AHEAD)
        return max(min(expected, GROWTH * self.want), len(self.waiting))

    def note_question(self, now: float) -> None:
        """One is asked now."""
        self.asks_due, _ = take(self.asks_due, now, ASKS)
        self.asked, self.used = now, 0

    def serve(self, early: float) -> None:
        """Let those who wait pass, and refuse the rest if Redis has no more."""
        rest = []
        for waiter in self.waiting:
            if waiter.done():
                continue
            if self.left:
                self.left -= 1
                self.used += 1
                waiter.set_result(0.0)
            elif self.scarce:
                waiter.set_result(early)
            else:
                rest.append(waiter)
        self.waiting = rest


class RateSlices:
    """base.SharedRates: high rates in slices, others one by one."""

    def __init__(self, exact: RedisRates) -> None:
        """`exact` asks Redis."""
        self._exact = exact
        self._slices: dict[str, Slice] = {}
        self._giving: set[asyncio.Task[tuple[int, float] | None]] = set()

    @property
    def away(self) -> bool:
        """Whether it gave no answer a moment ago."""
        return self._exact.away

    def known(self, name: str, rate: Rate) -> float | None:
        """From what is in hand: 0.0 passes, seconds refuse; None where Redis must be asked."""
        found = self._slices.get(name)
        if found is None or found.rate != rate:
            return None
        if found.left:
            found.left -= 1
            found.used += 1
            return 0.0
        if found.scarce and (wait := found.too_soon(asyncio.get_running_loop().time())):
            return wait
        return None

    async def take(self, name: str, rate: Rate) -> float | None:
        """Seconds by which this request is too early; None where nobody answered in time."""
        if not is_sliced(rate):
            return await self._exact.take(name, rate)
        loop = asyncio.get_running_loop()
        found = self._slices.get(name)
        if found is None:
            found = self._slices[name] = Slice(rate)
            loop.call_later(KEPT, self._review, name)
        found.rate = rate
        if not found.waiting:
            found.ran_out = loop.time()
        answer: asyncio.Future[float | None] = loop.create_future()
        found.waiting.append(answer)
        if found.asking is None:
            found.asking = asyncio.create_task(self._fill(name, found), name="store rate slice")
        return await answer

    async def _fill(self, name: str, found: Slice) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while found.waiting:
                if wait := found.too_soon(clock()):
                    await asyncio.sleep(wait)
                found.want = found.size()
                found.note_question(clock())
                answer = await self._exact.ask(name, found.rate, found.want)
                if answer is None:
                    break
                granted, early = answer
                found.left += granted
                found.scarce = granted < found.want
                found.serve(max(early, found.rate.interval))
        finally:
            found.asking = None
            for waiter in found.waiting:
                if not waiter.done():
                    waiter.set_result(None)
            found.waiting = []

    def _review(self, name: str) -> None:
        """Give back what was not used for some time, and forget who no longer comes."""
        found, loop = self._slices.get(name), asyncio.get_running_loop()
        if found is None:  # closed
            return
        idle = 0.0 if found.asking is not None else loop.time() - found.asked
        if idle >= KEPT and found.left:
            self._give_back(name, found)
        elif idle >= 2 * KEPT:
            del self._slices[name]
            return
        loop.call_later(KEPT, self._review, name)

    def _give_back(self, name: str, found: Slice) -> None:
        left, found.left = found.left, 0
        found.note_question(asyncio.get_running_loop().time())
        giving = asyncio.create_task(
            self._exact.ask(name, found.rate, 0, left), name="store rate given back"
        )
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)

    async def aclose(self) -> None:
        """Give everything back, and answer all who still wait."""
        for found in self._slices.values():
            if found.asking is not None:
                found.asking.cancel()
        for name, found in self._slices.items():
            if found.left and not self.away:
                self._give_back(name, found)
        self._slices = {}
        if self._giving:
            await asyncio.wait(self._giving)
        await self._exact.aclose()
