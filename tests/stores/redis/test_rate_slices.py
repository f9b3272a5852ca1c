"""Rates that are taken ahead, on a real server: the sum of all workers, and what they cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.config.store_address import StoreAddress
from app.frontends.rates import Rate
from app.proxy.guards.rate_limits import RateLimits
from app.stores.redis.connections import Connections
from app.stores.redis.rate_slices import RateSlices, Slice
from app.stores.redis.shared_rates import RedisRates, key_of
from app.stores.redis.url import parse_url
from tests.redis_servers import RedisServer, until

HIGH = Rate(0.01, 100_000)
"""So many may come at once that what Redis has counted is not forgotten within a test."""
NAME = "a.test:10.0.0.1"
KEY = key_of(NAME, HIGH)


@asynccontextmanager
async def worker(server: RedisServer) -> AsyncIterator[RateSlices]:
    connections = Connections(parse_url(StoreAddress(server.url)), timeout=10.0, bounded=True)
    slices = RateSlices(RedisRates(connections, "", within=10.0))
    yield slices
    await slices.aclose()
    await connections.aclose()


async def ask(slices: RateSlices, rate: Rate = HIGH) -> float:
    """As a request does it."""
    known = slices.known(NAME, rate)
    early = await slices.take(NAME, rate) if known is None else known
    assert early is not None
    return early


async def due(server: RedisServer) -> float:
    async with server.client as client:
        return float((await client.get(KEY)).split()[0])


async def used_before(server: RedisServer) -> float:
    """A client that has used a part of its burst: what it takes now is not forgotten soon."""
    async with server.client as client:
        first = (await client.time())[0] + 500.0
        await client.set(KEY, first)
    return first


async def counted(server: RedisServer, first: float) -> int:
    """What Redis has counted since the next request was due at `first`."""
    return round((await due(server) - first) / HIGH.interval)


async def calls(server: RedisServer) -> int:
    async with server.client as client:
        commands = await client.info("commandstats")
    return int(commands.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_what_workers_take_ahead_and_do_not_use_is_given_back(valkey: RedisServer) -> None:
    async with worker(valkey) as one, worker(valkey) as two:
        first = await used_before(valkey)
        before, began = await calls(valkey), time.monotonic()
        for _ in range(500):
            assert await ask(one) == await ask(two) == 0.0
        assert await counted(valkey, first) > 1000
        took = time.monotonic() - began
        assert await calls(valkey) - before <= 2 * 20 * (took + 1)
    assert await counted(valkey, first) == 1000


async def test_a_worker_that_idles_gives_back(valkey: RedisServer) -> None:
    async with worker(valkey) as one:
        first, passed = await used_before(valkey), 0
        while await counted(valkey, first) <= passed:  # until it has one in hand
            passed += 1
            assert await ask(one) == 0.0
        await until(lambda: not one._slices)
        assert await counted(valkey, first) == passed
        assert await ask(one) == 0.0


async def test_no_more_pass_in_all_workers_than_the_rate_allows(valkey: RedisServer) -> None:
    rate = Rate(0.05, 20)
    async with worker(valkey) as one, worker(valkey) as two:
        began = time.monotonic()
        asked = await asyncio.gather(*(ask(w, rate) for w in (one, two) for _ in range(100)))
        took = time.monotonic() - began
    assert 20 <= asked.count(0.0) <= 21 + took / rate.interval
    assert min(early for early in asked if early) >= 0.05


async def test_while_redis_has_no_more_requests_are_refused_without_a_trip(
    valkey: RedisServer,
) -> None:
    rate = Rate(0.05, 5)
    async with worker(valkey) as one:
        while (
            not (found := one._slices.get(NAME))
            or not found.scarce
            or one.known(NAME, rate) is None
        ):
            await ask(one, rate)
        before = await calls(valkey)
        for _ in range(1000):
            one.known(NAME, rate)
        assert await calls(valkey) == before


async def test_a_low_rate_is_counted_one_by_one(valkey: RedisServer) -> None:
    async with worker(valkey) as one:
        assert [await ask(one, Rate(1200.0, 2)) for _ in range(3)][:2] == [0.0, 0.0]
        assert not one._slices


async def test_what_an_edited_limit_allowed_passes_no_more(valkey: RedisServer) -> None:
    async with worker(valkey) as one:
        first = await used_before(valkey)
        passed = 0
        while not one._slices or one._slices[NAME].left < 10:
            assert await ask(one) == 0.0
            passed += 1
        edited = Rate(0.02, HIGH.burst)
        assert await ask(one, edited) == 0.0
        assert one._slices[NAME].rate == edited
    assert await counted(valkey, first) == passed


async def test_who_still_goes_by_the_old_limit_leaves_the_edited_one_alone(
    valkey: RedisServer,
) -> None:
    edited = Rate(360.0, 3)
    async with worker(valkey) as one, worker(valkey) as late:
        while not one._slices or one._slices[NAME].left < 10:
            assert await ask(one) == 0.0
        assert [await ask(one, edited) for _ in range(4)][:3] == [0.0] * 3
        assert await ask(late) == 0.0
        before = await calls(valkey)
        await one.aclose()  # gives back what it still has by the old one
        assert await calls(valkey) >= before
    async with worker(valkey) as new:
        assert await ask(new, edited) > 300.0


def test_a_worker_by_itself_forgets_what_an_edited_limit_counted() -> None:
    now = 100.0
    limits = RateLimits(lambda: now)
    for _ in range(600):
        assert limits.take("a.test", "10.0.0.1", Rate(1.0, 600)) == 0.0
    edited = Rate(0.1, 3)
    assert limits.take("a.test", "10.0.0.1", edited) == pytest.approx(0.1)
    now += 0.1
    assert limits.take("a.test", "10.0.0.1", edited) == 0.0


@pytest.mark.parametrize("rate", [Rate(0.01, 100), Rate(0.1, 3)], ids=["in slices", "one by one"])
async def test_a_count_of_another_clock_keeps_nobody_out_for_long(
    valkey: RedisServer, rate: Rate
) -> None:
    async with worker(valkey) as one, valkey.client as client:
        now = (await client.time())[0]
        await client.set(key_of(NAME, rate), now + 3600.0, px=3_600_000)
        async with asyncio.timeout(5):
            while await ask(one, rate):  # noqa: ASYNC110
                await asyncio.sleep(rate.interval)


def test_a_request_that_is_refused_from_what_is_in_hand_does_not_count() -> None:
    class Scarce:
        away = False
        said = 0.5

        def known(self, name: str, rate: Rate) -> float:
            return self.said

    shared = Scarce()
    limits = RateLimits(lambda: 100.0, shared)  # type: ignore[arg-type]
    assert [limits.take("a.test", "10.0.0.1", Rate(0.1, 2)) for _ in range(5)] == [0.5] * 5
    shared.said = 0.0
    assert [limits.take("a.test", "10.0.0.1", Rate(0.1, 2)) for _ in range(2)] == [0.0] * 2


@pytest.mark.parametrize(
    ("want", "came", "waiting", "size"),
    [
        pytest.param(1, 0, 1, 1, id="the first question is for one"),
        pytest.param(1, 0, 9, 9, id="for all who wait"),
        pytest.param(20, 59, 1, 30, id="for what 0.1 s will need"),
        pytest.param(5, 60, 1, 20, id="for four times as many as before at most"),
    ],
)
async def test_how_many_are_asked_for(want: int, came: int, waiting: int, size: int) -> None:
    found = Slice(Rate(0.001, 1000))
    found.asked, found.want, found.came = 100.0, want, came
    found.waiting = [asyncio.get_running_loop().create_future() for _ in range(waiting)]
    assert found.question(100.2).want == size


def test_a_worker_asks_twenty_times_a_second_at_most() -> None:
    found, now, asked = Slice(HIGH), 0.0, []
    while now < 5:
        now += found.too_soon(now) or 1e-4
        if not found.too_soon(now):
            found.note_question(now)
            asked.append(now)
    assert all(later - first > 1 for first, later in zip(asked, asked[20:], strict=False))
