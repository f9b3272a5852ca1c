"""Rates that are taken ahead, by a clock of the test: what passes in all workers together."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
import redis

from app.frontends.rates import Rate
from app.stores.redis.rate_slices import Slice
from app.stores.redis.shared_rates import COUNT, Question, arguments
from tests.redis_servers import RedisServer

SETTLE, SECONDS = 3, 10
ROUND_TRIP = 0.0005


class Count:
    """A real server that counts one client, with the script and the time that it is told."""

    def __init__(self, server: RedisServer, rate: Rate) -> None:
        self.client = redis.Redis(unix_socket_path=str(server.socket), decode_responses=True)
        self.script = self.client.register_script(f"local now = tonumber(ARGV[8])\n{COUNT}")
        self.rate, self.commands = rate, 0

    def take(self, now: float, asked: Question) -> float:
        self.commands += 1
        numbers = [*arguments(self.rate, asked), repr(now)]
        return float(self.script(["a client"], numbers).split()[0])


class Fleet:
    """Workers of one client, whose requests come at random; time passes from event to event."""

    def __init__(self, counted: Count, loads: Sequence[float], seed: int = 1) -> None:
        """`loads`: how many times the rate each worker gets."""
        self.redis, rate = counted, counted.rate
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
async def test_the_sum_is_the_rate_over_a_second_and_over_ten(
    valkey: RedisServer, loads: list[float]
) -> None:
    rate = 1000
    fleet = Fleet(Count(valkey, Rate(1 / rate, rate)), loads)
    each = [0] * (SETTLE + SECONDS)
    for at in fleet.passed(SETTLE + SECONDS):
        each[int(at)] += 1
    fleet.redis.client.close()
    seconds = each[SETTLE:]
    assert max(abs(passed / rate - 1) for passed in seconds) <= 0.02
    assert abs(sum(seconds) / rate / SECONDS - 1) <= 0.0025
    assert fleet.redis.commands / len(loads) <= 20 * (SETTLE + SECONDS)
