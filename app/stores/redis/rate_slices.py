"""High rates without a trip for each request: a worker takes requests of a client ahead.

A worker asks Redis for as many requests as it expects in the next AHEAD seconds, at most ASKS
times a second for each client of a frontend, and lets them pass without asking again; what it has
not used after KEPT seconds it gives back. Redis hands out no more than the rate, and only what it
has handed out passes, so the sum of all workers is right in the long run. What workers have in
hand, and what waits in Redis until the next of them asks, is all by which a shorter time may
differ. So while requests are refused, a worker wants no more than what comes until it may ask
again, spreads that over this time, and keeps its distance from those who ask just before it.
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
ASK_EVERY = ASKS.interval
"""Seconds from one question to the next, while requests are refused."""
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
        "asked", "asking", "asks_due", "came", "left", "next_pass", "not_before", "ran_out", "rate",
        "scarce", "spacing", "usual", "waiting", "want",
    )  # fmt: skip

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.left = 0
        self.came = 0
        """Requests since the last question, those that were refused too."""
        self.want = 1
        """How many the last question was for."""
        self.asked = -math.inf
        self.ran_out = 0.0
        """When somebody had to wait first; `asked`: when the last question was asked."""
        self.asks_due = 0.0
        self.scarce = False
        """Redis had fewer than were wanted."""
        self.usual = 0.0
        """How many it has then, on average."""
        self.not_before = 0.0
        self.spacing = self.next_pass = 0.0
        """Seconds between those that pass, 0 for as they come; and when the next one may."""
        self.waiting: list[asyncio.Future[float | None]] = []
        self.asking: asyncio.Task[None] | None = None

    def too_soon(self, now: float) -> float:
        """Seconds until the next question may be asked."""
        return max(0.0, self.asks_due - ASKS.tolerance - now, self.not_before - now)

    def size(self) -> int:
        """How many to ask for: those who wait, or as many as are expected."""
        ahead = ASK_EVERY if self.scarce else AHEAD
        expected = math.ceil(self.came / max(self.ran_out - self.asked, 1e-3) * ahead)
        return max(min(expected, GROWTH * self.want), len(self.waiting))

    def note_question(self, now: float) -> None:
        """One is asked now."""
        self.asks_due, _ = take(self.asks_due, now, ASKS)
        self.asked, self.came = now, 0

    def passes(self) -> bool:
        """Let one pass from what is in hand; False where that needs a look at the clock."""
        if not self.left or self.spacing:
            return False
        self.left -= 1
        self.came += 1
        return True

    def known(self, now: float) -> float | None:
        """As `RateSlices.known`, where `passes` does not say it."""
        if self.left:
            early = max(0.0, self.next_pass - now)
        elif not self.scarce or not (early := self.too_soon(now)):
            return None
        self.came += 1
        if not early:
            self.left -= 1
            self.next_pass += self.spacing
        return early

    def serve(self, granted: int, early: float, now: float) -> None:
        """Let those who wait pass, and refuse the rest if Redis has no more."""
        before, self.scarce = self.scarce, granted < self.want
        self.left += granted
        rest = []
        for waiter in self.waiting:
            if waiter.done():
                continue
            if self.left:
                self.left -= 1
                waiter.set_result(0.0)
            elif self.scarce:
                waiter.set_result(early)
            else:
                rest.append(waiter)
                continue
            self.came += 1
        self.waiting = rest
        self._spread(granted, now, steady=before and self.scarce)

    def _spread(self, granted: int, now: float, *, steady: bool) -> None:
        """`steady`: Redis has had no more for some time. The end of a burst passes as it comes."""
        self.spacing = self.not_before = 0.0
        if not steady:
            self.usual = float(granted)
            return
        self.usual += (granted - self.usual) / 10
        # It got little because somebody asked a moment before, and would each time.
        short = max(0.0, 1 - granted / self.usual) if self.usual else 0.0
        self.not_before = now + ASK_EVERY * (1 + short / 2)
        if self.left:
            self.spacing, self.next_pass = ASK_EVERY / self.left, now


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
        return 0.0 if found.passes() else found.known(asyncio.get_running_loop().time())

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
                found.serve(granted, max(early, found.rate.interval), clock())
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
