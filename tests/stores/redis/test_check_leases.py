"""Shards of a fleet's active checks: the script on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from app.config.structs import Config, ServerConfig
from app.stores import open_store
from app.stores.base import CheckRecords
from app.stores.redis.check_leases import LEASES
from tests.redis_servers import RedisServer

SHARDS, SECONDS = 12, 60.0


@asynccontextmanager
async def records_of(valkey: RedisServer) -> AsyncIterator[CheckRecords]:
    config = Config(driver=(valkey.url,), server=ServerConfig(snapshot=None, store_timeout=10.0))
    store = open_store(config)
    assert store.checks is not None
    yield store.checks
    await store.aclose()


async def shards_of(records: CheckRecords, *names: str) -> dict[str, set[int]]:
    """What each of these checkers has after it came once more."""
    return {name: set((await records.hold(name, SECONDS, SHARDS, {})).renewed) for name in names}


async def rewrite(valkey: RedisServer, change: Callable[[str, str], str]) -> Mapping[str, str]:
    """Change entries of the hash, by field and value; the hash as it is then."""
    async with valkey.client as client:
        entries = {f: change(f, value) for f, value in (await client.hgetall(LEASES)).items()}
        await client.hset(LEASES, mapping=entries)
    return entries


def lapsed(name: str, milliseconds: int) -> Callable[[str, str], str]:
    """An edit after which `name` has not come for so long."""

    def edit(field: str, value: str) -> str:
        *times, holder = value.split(" ", 2) if " " in value else (value, "")
        if name in (holder, field[1:]):
            times = [str(int(at) - int(SECONDS * 1000) - milliseconds) for at in times]
        return " ".join((*times, holder)).strip()

    return edit


async def test_each_checker_has_its_fair_share_and_no_shard_two_holders(
    valkey: RedisServer,
) -> None:
    names = ["one", "two", "three", "four", "five"]
    async with records_of(valkey) as records:
        for count in range(1, 6):
            await shards_of(records, *names[:count])  # those who have too much give back
            for _ in range(3):
                found = await shards_of(records, *names[:count])
            assert sorted(n for mine in found.values() for n in mine) == list(range(SHARDS))
            sizes = [*map(len, found.values())]
            assert max(sizes) - min(sizes) <= 1
        assert await shards_of(records, *names) == found  # and nothing moves any more


async def test_the_shards_of_a_dead_checker_are_shared_by_the_others(valkey: RedisServer) -> None:
    async with records_of(valkey) as records:
        await shards_of(records, "dead", "one", "two")
        before = await shards_of(records, "dead", "one", "two")
        await rewrite(valkey, lapsed("dead", 1500))
        after = {name: await records.hold(name, SECONDS, SHARDS, {}) for name in ("one", "two")}
        for name, leases in after.items():
            gained = set(leases.renewed) - before[name]
            assert set(leases.renewed) > before[name]
            assert gained < before["dead"]
            # It was last renewed SECONDS before its lease ended.
            assert all(1.5 <= leases.now - leases.renewed[n] - SECONDS < 10 for n in gained)
        assert await shards_of(records, "dead") == {"dead": set()}  # it may come again, and waits


async def test_shards_that_are_given_back_say_since_when(valkey: RedisServer) -> None:
    async with records_of(valkey) as records:
        await shards_of(records, "one")
        given = (await records.hold("one", SECONDS, SHARDS, {})).now
        await records.release("one")
        await records.release("a stranger")
        leases = await records.hold("two", SECONDS, SHARDS, {})
        assert set(leases.renewed) == set(range(SHARDS))
        assert all(given <= since <= leases.now for since in leases.renewed.values())
        async with valkey.client as client:
            assert await client.hget(LEASES, ":one") is None
            assert 0 < await client.pttl(LEASES) <= 10 * SECONDS * 1000


async def test_what_a_holder_has_not_caught_up_with_is_left_to_the_next_one(
    valkey: RedisServer,
) -> None:
    async with records_of(valkey) as records:
        began = (await records.hold("one", SECONDS, SHARDS, {})).now - 100
        await records.hold("one", SECONDS, SHARDS, {2: began, 11: began})  # the last is given back
        await shards_of(records, "two")
        one = await records.hold("one", SECONDS, SHARDS, {2: began, 11: began})
        two = await records.hold("two", SECONDS, SHARDS, {})
        assert set(two.renewed) == set(range(SHARDS // 2, SHARDS))
        assert one.renewed[2] == pytest.approx(began, abs=0.002)
        assert two.renewed[11] == pytest.approx(began, abs=0.002)
        assert all(began + 99 < since for n, since in two.renewed.items() if n != 11)
        await records.release("one")
        leases = await records.hold("three", SECONDS, SHARDS, {})
        assert leases.renewed[2] == pytest.approx(began, abs=0.002)


async def test_a_lease_that_lapsed_and_was_not_taken_stays_with_its_holder(
    valkey: RedisServer,
) -> None:
    async with records_of(valkey) as records:
        await shards_of(records, "one")
        await rewrite(valkey, lapsed("one", 1000))
        assert await shards_of(records, "one") == {"one": set(range(SHARDS))}


async def test_no_lease_outlasts_a_clock_of_redis_that_is_set_back(valkey: RedisServer) -> None:
    def an_hour_ahead(field: str, value: str) -> str:
        ends, *rest = value.split(" ", 1)
        return " ".join((str(int(ends) + 3_600_000), *rest))

    async with records_of(valkey) as records:

        async def held(name: str) -> set[int]:
            return set((await records.hold(name, 0.2, SHARDS, {})).renewed)

        await shards_of(records, "alive", "dead", "gone")
        before = await shards_of(records, "alive", "dead", "gone")
        await records.release("gone")
        await rewrite(valkey, an_hour_ahead)
        assert await held("alive") == before["alive"]  # the others have the time to renew theirs
        async with asyncio.timeout(10):
            while len(await held("alive")) < SHARDS:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_no_more_checkers_count_than_there_are_shards(valkey: RedisServer) -> None:
    async with records_of(valkey) as records:
        names = [f"worker {n}" for n in range(3 * SHARDS)]
        for _ in range(5):
            found = await shards_of(records, *names)
        assert sum(map(len, found.values())) == SHARDS
        assert max(map(len, found.values())) == 1
        for name, mine in found.items():
            assert (await records.hold(name, SECONDS, SHARDS, {})).counted is bool(mine)
        async with valkey.client as client:
            assert await client.hlen(LEASES) == 2 * SHARDS


async def test_an_emptied_store_is_divided_anew(valkey: RedisServer) -> None:
    async with records_of(valkey) as records:
        await shards_of(records, "one", "two")
        async with valkey.client as client:
            await client.flushall()
        await shards_of(records, "one", "two")
        await shards_of(records, "one", "two")
        found = await shards_of(records, "one", "two")
        assert [len(mine) for mine in found.values()] == [SHARDS // 2] * 2
