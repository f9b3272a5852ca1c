"""High rates without a trip for each request: a worker takes requests of a client ahead.

A worker asks Redis for as many requests as it expects in the next AHEAD seconds, at most ASKS
times a second for each client of a frontend, and lets them pass without asking again; what it has
not used after KEPT seconds it gives back. Redis hands out no more than the rate, and only what it
has handed out passes, so the sum of all workers is right in the long run.

It is right in a short time too. While Redis has fewer than are wanted, each worker gets a part of
the rate, as large as its part of the demand: that part of what is free, and of what will come free
until it asks again. It spreads them over this time. So it does not matter in which order workers
ask, and at every moment the parts of all of them make up the rate.
"""

from __future__ import annotations

import asyncio
import math

from ...frontends.rates import Rate, take
from .shared_rates import Question, RedisRates

AHEAD = 0.1
"""Seconds that a slice should do for."""
ASKS = Rate(1 / 15, 5)
"""How often a worker asks: never more than 20 times in any second."""
ASK_EVERY = ASKS.interval
"""Seconds from one question to the next, while requests are refused."""
WEIGHT = 0.3
"""How much the last ASK_EVERY seconds count in a worker's demand, while requests are refused."""
SHORTEST = 0.01
"""Seconds: over a shorter time a few requests would look like very many."""
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
        "a_second", "asked", "asking", "asks_due", "came", "left", "next_pass", "not_before",
        "rate", "scarce", "spacing", "waiting", "want",
    )  # fmt: skip

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.left = 0.0  # less than a request waits for the rest of it
        self.came, self.a_second = 0, 0.0
        """Requests since the last question, refused ones too; and how many come in a second."""
        self.want = 1  # in the last question
        self.asked = -math.inf  # when the last question was
        self.asks_due = 0.0
        self.scarce = False
        """Redis had fewer than were wanted."""
        self.not_before = 0.0
        self.spacing = self.next_pass = 0.0
        """Seconds between those that pass, 0 for as they come; and when the next one may."""
        self.waiting: list[asyncio.Future[float | None]] = []
        self.asking: asyncio.Task[None] | None = None

    def too_soon(self, now: float) -> float:
        """Seconds until the next question."""
        return max(0.0, self.asks_due - ASKS.tolerance - now, self.not_before - now)

    def question(self, now: float) -> Question:
        """One is asked now: for those who wait, or as many as are expected."""
        a_second = (self.came + len(self.waiting)) / max(now - self.asked, SHORTEST)
        self.a_second += (a_second - self.a_second) * (WEIGHT if self.scarce else 1)
        ahead = ASK_EVERY if self.scarce else AHEAD
        expected = math.ceil(self.a_second * ahead)
        self.want = max(min(expected, GROWTH * self.want), len(self.waiting))
        back, came = int(self.left), self.came
        self.note_question(now)
        self.left -= back
        coming = ASK_EVERY if self.scarce else 0.0
        return Question(self.want, back, came, a_second=self.want / ahead, coming=coming)

    def note_question(self, now: float) -> None:
        self.asks_due, _ = take(self.asks_due, now, ASKS)
        self.asked, self.came = now, 0

    def passes(self) -> bool:
        """Let one pass from what is in hand; False where that needs a look at the clock."""
        if self.left < 1 or self.scarce:
            return False
        self.left -= 1
        self.came += 1
        return True

    def known(self, now: float) -> float | None:
        """As `RateSlices.known`, where `passes` does not say it."""
        if not self.scarce or not (early := self.too_soon(now)):
            return None
        self.came += 1
        if self.left < 1:
            return early
        if self.next_pass > now:
            return self.next_pass - now
        self._pass_one()
        return 0.0

    def _pass_one(self) -> None:
        self.left -= 1
        self.next_pass += self.spacing

    def serve(self, granted: float, now: float) -> None:
        """Let those who wait pass, and refuse the rest if Redis has no more."""
        before, self.scarce = self.scarce, granted < self.want
        self.left += granted
        self._spread(granted, now, steady=before and self.scarce)
        rest = []
        for waiter in self.waiting:
            if waiter.done():
                continue
            if self.left >= 1 and self.next_pass <= now:
                self._pass_one()
                waiter.set_result(0.0)
            elif self.scarce:
                waiter.set_result(max(self.next_pass - now, self.rate.interval))
            else:
                rest.append(waiter)
                continue
            self.came += 1
        self.waiting = rest

    def _spread(self, granted: float, now: float, *, steady: bool) -> None:
        """`steady`: Redis has had no more for some time. The end of a burst passes as it comes."""
        self.not_before = now + ASK_EVERY if self.scarce else 0.0
        if not steady or not granted:
            self.spacing, self.next_pass = 0.0, now
            return
        self.spacing = ASK_EVERY / granted
        self.next_pass = min(max(self.next_pass, now - self.spacing), now + self.spacing)


class RateSlices:
    """base.SharedRates: high rates in slices, others one by one."""

    def __init__(self, exact: RedisRates) -> None:
        """`exact` asks Redis."""
        self._exact = exact
        self._slices: dict[str, Slice] = {}
        self._giving: set[asyncio.Task[tuple[float, float] | None]] = set()

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
        loop, found = asyncio.get_running_loop(), self._slice_of(name, rate)
        early = 0.0 if found.passes() else found.known(loop.time())
        if early is not None:  # an answer has come since `known` was asked
            return early
        answer: asyncio.Future[float | None] = loop.create_future()
        found.waiting.append(answer)
        if found.asking is None:
            found.asking = asyncio.create_task(self._fill(name, found), name="store rate slice")
        return await answer

    def _slice_of(self, name: str, rate: Rate) -> Slice:
        before = self._slices.get(name)
        if before is not None and before.rate == rate:
            return before
        found = self._slices[name] = Slice(rate)
        if before is None:
            asyncio.get_running_loop().call_later(KEPT, self._review, name)
        elif before.asking is None and before.left:
            self._give_back(name, before)  # what an edited limit allowed passes no more
        return found

    async def _fill(self, name: str, found: Slice) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while found.waiting:
                if wait := found.too_soon(clock()):
                    await asyncio.sleep(wait)
                answer = await self._exact.ask(name, found.rate, found.question(clock()))
                if answer is None:
                    break
                found.serve(answer[0], clock())
        finally:
            found.asking = None
            for waiter in found.waiting:
                if not waiter.done():
                    waiter.set_result(None)
            found.waiting = []
            if self._slices.get(name, found) is not found and found.left:
                self._give_back(name, found)

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
        left, found.left = found.left, 0.0
        found.note_question(asyncio.get_running_loop().time())
        giving = asyncio.create_task(
            self._exact.ask(name, found.rate, Question(0, left)), name="store rate given back"
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
