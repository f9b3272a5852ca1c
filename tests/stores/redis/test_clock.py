"""Marks of machines whose clocks are wrong."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.config.store_address import StoreAddress
from app.routing import Backend, Frontend, Mark, parse_frontend
from app.stores import CachedStore
from app.stores.redis.marks import decide, encode_mark
from app.stores.redis.store import RedisStore
from app.stores.redis.url import parse_url
from tests.redis_servers import RedisServer, until

HOUR = 3600.0
A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
FRONTEND = parse_frontend("a.example", ["id", A, B])


@asynccontextmanager
async def store_of(
    server: RedisServer, *, wrong_by: float = 0.0, longest_mark: float = 5.0
) -> AsyncIterator[RedisStore]:
    """The store as a machine sees it whose clock is `wrong_by` seconds ahead."""
    store = RedisStore(
        [parse_url(StoreAddress(server.url))], timeout=5.0, longest_mark=longest_mark,
        clock=lambda: time.time() + wrong_by,
    )  # fmt: skip
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def frontend(valkey: RedisServer) -> tuple[Frontend, Backend]:
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A, B)
    return FRONTEND, FRONTEND.backends[0]


@pytest.mark.parametrize("writer", [-HOUR, 0.0, HOUR])
@pytest.mark.parametrize("reader", [-HOUR, 0.0, HOUR])
async def test_a_mark_lasts_as_long_for_everybody_as_it_was_meant_to(
    valkey: RedisServer, frontend: tuple[Frontend, Backend], writer: float, reader: float
) -> None:
    then = time.time() + writer
    mark = Mark(then + 3, then - 10, "refused", "ahead", 1)
    async with store_of(valkey, wrong_by=writer) as theirs:
        await theirs.write_mark(*frontend, mark, shared_until=mark.until)
    async with store_of(valkey, wrong_by=reader) as ours:
        found = await ours.lookup("a.example")
    assert found is not None
    now = time.time() + reader
    assert now < found.marks[A].until <= now + 3.5
    assert now - 11 <= found.marks[A].since <= now - 9


async def test_a_mark_that_ends_far_away_is_believed_for_the_longest_time_of_all(
    valkey: RedisServer, frontend: tuple[Frontend, Backend]
) -> None:
    """As an older version writes it, with a clock that is ahead."""
    now = time.time()
    value = {"until": now + HOUR, "since": now + HOUR, "reason": "refused", "by": "ahead",
             "failures": 1, "index": 0}  # fmt: skip
    async with valkey.client as redis:
        await redis.hset("dead-info:a.example", A, json.dumps(value))
    async with store_of(valkey) as store:
        found = await store.lookup("a.example")
    assert found is not None
    assert found.marks[A].until <= time.time() + 5
    assert found.marks[A].since <= time.time()


@pytest.mark.parametrize(
    ("meant", "believed"), [(3.0, 5.0), (HOUR, HOUR)], ids=["by a request", "by hand, for longer"]
)
def test_how_long_a_mark_is_believed(meant: float, believed: float) -> None:
    """Where the store does not tell the time, a clock that is ahead is not noticed."""
    then = 1000.0 + 2 * HOUR
    text = encode_mark(Mark(then + meant, then, "refused", "ahead", 1), 0, now=then)
    marks = decide(FRONTEND, [], 0.0, {A: text}, now=1000.0, longest=5.0)
    assert marks[A].until == 1000.0 + believed


async def test_routes_are_read_anew_once_the_stores_clock_is_known(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A, B)
    async with store_of(valkey, wrong_by=HOUR) as store:
        routes = CachedStore(store)
        await routes.start()
        try:
            await until(lambda: abs(store._clock.ahead + HOUR) < 1)
            assert (await routes.find("a.example")).frontend.identifier == "id"
        finally:
            await routes.aclose()
    assert caplog.text.count("clocks differ: the store's is 3600 s behind ours") == 1


@pytest.mark.parametrize("wrong_by", [-HOUR, HOUR])
async def test_a_checkers_sign_of_life_goes_by_the_stores_clock(
    valkey: RedisServer, wrong_by: float
) -> None:
    async with store_of(valkey, wrong_by=wrong_by) as store, valkey.client as redis:
        await store._clock.measure()
        await store.checks.ping()
        assert abs(int(await redis.get("hchecker_ping")) - time.time()) < 3
        assert (await store.checks.pings()).ours
        await redis.set("hchecker_ping", int(time.time() + HOUR))
        assert not (await store.checks.pings()).foreign, "a clock that is ahead is no life"
