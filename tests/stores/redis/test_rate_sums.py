"""Rates that are taken ahead, by a clock that stands still: what passes in all workers together."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Iterator
from itertools import count

import pytest

from app.frontends.rates import Rate
from app.stores.redis.rate_slices import Slice

SETTLE, SECONDS = 3, 10
ROUND_TRIP = 0.0005


class Count:
    """What Redis knows of one client: the arithmetic of the script in shared_rates."""

    def __init__(self, rate: Rate) -> None:
        self.rate, self.due, self.commands = rate, 0.0, 0

    def take(self, now: float, want: int) -> tuple[int, float]:
        self.commands += 1
        due = max(self.due, now)
        free = math.floor((now + self.rate.tolerance - due + 1e-6) / self.rate.interval) + 1
        granted = max(min(want, free), 0)
        self.due = due + granted * self.rate.interval
        return granted, max(self.due - self.rate.tolerance - now, 0.0)


class Fleet:
    """Workers of one client, whose requests come at random; time passes from event to event."""

    def __init__(self, workers: int, rate: Rate, load: float) -> None:
        self.redis = Count(rate)
        self.slices = [Slice(rate) for _ in range(workers)]
        self.pause = workers * rate.interval / load
        self.events: list[tuple[float, int, str, int, int]] = []
        self.numbers = count()
        self.random = random.Random(1)

    def later(self, at: float, what: str, worker: int, granted: int = 0) -> None:
        heapq.heappush(self.events, (at, next(self.numbers), what, worker, granted))

    def passed(self, until: float) -> Iterator[float]:
        """When requests pass."""
        for worker in range(len(self.slices)):
            self.later(self.random.expovariate(1 / self.pause), "request", worker)
        asking, loop = set[int](), asyncio.get_running_loop()
        while self.events[0][0] < until:
            now, _, what, worker, granted = heapq.heappop(self.events)
            found = self.slices[worker]
            if what == "request":
                self.later(now + self.random.expovariate(1 / self.pause), "request", worker)
                early = 0.0 if found.passes() else found.known(now)
                if early == 0:
                    yield now
                if early is not None:
                    continue
                if not found.waiting:
                    found.ran_out = now
                found.waiting.append(loop.create_future())
                if worker not in asking:
                    asking.add(worker)
                    self.later(now + found.too_soon(now), "question", worker)
            elif what == "question":
                found.want = found.size()
                found.note_question(now)
                granted, _ = self.redis.take(now, found.want)
                self.later(now + ROUND_TRIP, "answer", worker, granted)
            else:
                waited = [*found.waiting]
                found.serve(granted, found.rate.interval, now)
                yield from (now for each in waited if each.done() and each.result() == 0)
                if found.waiting:
                    self.later(now + found.too_soon(now), "question", worker)
                else:
                    asking.discard(worker)


@pytest.mark.parametrize("load", [2.0, 5.0], ids="{:g} times the rate".format)
@pytest.mark.parametrize("workers", [1, 2, 4, 8, 40], ids="{} workers".format)
async def test_the_sum_is_the_rate_over_a_second_and_over_ten(workers: int, load: float) -> None:
    rate = 1000
    fleet = Fleet(workers, Rate(1 / rate, rate), load)
    each = [0] * (SETTLE + SECONDS)
    for at in fleet.passed(SETTLE + SECONDS):
        each[int(at)] += 1
    seconds = each[SETTLE:]
    errors = sorted(abs(passed / rate - 1) for passed in seconds)
    assert errors[-2] <= 0.02
    assert errors[-1] <= 0.03
    assert abs(sum(seconds) / rate / SECONDS - 1) <= 0.0025
    assert fleet.redis.commands / workers <= 20 * (SETTLE + SECONDS)
