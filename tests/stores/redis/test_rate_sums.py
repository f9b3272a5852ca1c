"""Rates that are taken ahead, by a clock that stands still: what passes in all workers together."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from app.frontends.rates import Rate
from app.stores.redis.rate_slices import Slice
from app.stores.redis.shared_rates import AHEAD_AT_MOST, SPAN, Question

SETTLE, SECONDS = 3, 10
ROUND_TRIP = 0.0005


class Count:
    """What Redis knows of one client: the arithmetic of the script in shared_rates."""

    def __init__(self, rate: Rate) -> None:
        self.rate, self.due, self.commands = rate, 0.0, 0
        self.seen, self.at = 0.0, 0.0

    def take(self, now: float, asked: Question) -> float:
        self.commands += 1
        interval, tolerance = self.rate.interval, self.rate.tolerance
        due = min(self.due, now + tolerance + interval + AHEAD_AT_MOST) - asked.back * interval
        due = max(due, now)
        free = (now + tolerance - due + 1e-6) / interval + 1
        self.seen = self.seen * math.exp((self.at - now) / SPAN) + asked.came
        self.at = now
        granted = float(asked.want)
        if granted > free:
            part = min(asked.a_second * SPAN / max(self.seen, 1e-3), 1)
            granted = max(min(part * (free + asked.coming / interval), granted), 0.0)
        self.due = due + granted * interval
        return granted


class Fleet:
    """Workers of one client, whose requests come at random; time passes from event to event."""

    def __init__(self, rate: Rate, loads: Sequence[float], seed: int = 1) -> None:
        """`loads`: how many times the rate each worker gets."""
        self.redis = Count(rate)
        self.slices = [Slice(rate) for _ in loads]
        self.pauses = [rate.interval / load for load in loads]
        self.events: list[tuple[float, int, str, int, float]] = []
        self.numbers = count()
        self.random = random.Random(seed)

    def later(self, at: float, what: str, worker: int, granted: float = 0.0) -> None:
        heapq.heappush(self.events, (at, next(self.numbers), what, worker, granted))

    def request_after(self, now: float, worker: int) -> None:
        self.later(now + self.random.expovariate(1 / self.pauses[worker]), "request", worker)

    def passed(self, until: float) -> Iterator[float]:
        """When requests pass."""
        for worker in range(len(self.slices)):
            self.request_after(0.0, worker)
        asking, loop = set[int](), asyncio.get_running_loop()
        while self.events[0][0] < until:
            now, _, what, worker, granted = heapq.heappop(self.events)
            found = self.slices[worker]
            if what == "request":
                self.request_after(now, worker)
                early = 0.0 if found.passes() else found.known(now)
                if early == 0:
                    yield now
                if early is not None:
                    continue
                found.waiting.append(loop.create_future())
                if worker not in asking:
                    asking.add(worker)
                    self.later(now + found.too_soon(now), "question", worker)
            elif what == "question":
                granted = self.redis.take(now, found.question(now))
                self.later(now + ROUND_TRIP, "answer", worker, granted)
            else:
                waited = [*found.waiting]
                found.serve(granted, now)
                yield from (now for each in waited if each.done() and each.result() == 0)
                if found.waiting:
                    self.later(now + found.too_soon(now), "question", worker)
                else:
                    asking.discard(worker)


@pytest.mark.parametrize(
    "loads",
    [
        pytest.param([2.0], id="one worker"),
        pytest.param([0.5] * 4, id="four workers"),
        pytest.param([1.25] * 4, id="four workers, five times the rate"),
        pytest.param([0.25] * 8, id="eight workers"),
        pytest.param([1.6, 0.2, 0.2], id="one worker has most of it"),
        pytest.param([0.15, 0.3, 0.6, 1.2], id="each worker has twice as much as the one before"),
        pytest.param([2.0] + [0.1] * 9, id="one of ten has two thirds of it"),
    ],
)
async def test_the_sum_is_the_rate_over_a_second_and_over_ten(loads: list[float]) -> None:
    rate = 1000
    fleet = Fleet(Rate(1 / rate, rate), loads)
    each = [0] * (SETTLE + SECONDS)
    for at in fleet.passed(SETTLE + SECONDS):
        each[int(at)] += 1
    seconds = each[SETTLE:]
    assert max(abs(passed / rate - 1) for passed in seconds) <= 0.02
    assert abs(sum(seconds) / rate / SECONDS - 1) <= 0.0025
    assert fleet.redis.commands / len(loads) <= 20 * (SETTLE + SECONDS)
