"""Rate limits that proxies share: real Redis and Valkey servers, and what holds without them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.config.store_address import StoreAddress
from app.frontends.rates import Rate
from app.stores.redis.connections import Connections
from app.stores.redis.shared_rates import RATE, RedisRates, key_of
from app.stores.redis.url import parse_url
from tests.backends import answer, answering
from tests.redis_servers import REDIS, VALKEY, RedisServer
from tests.serving import Proxy, proxying

HOURLY = Rate(1200.0, 3)


@asynccontextmanager
async def rates_of(
    server: RedisServer, *, within: float = 10.0, prefix: str = ""
) -> AsyncIterator[RedisRates]:
    connections = Connections(parse_url(StoreAddress(server.url)), timeout=10.0, bounded=True)
    rates = RedisRates(connections, prefix, within=within)
    yield rates
    await rates.aclose()
    await connections.aclose()


@asynccontextmanager
async def limited(valkey: RedisServer, **server: object) -> AsyncIterator[Proxy]:
    """A proxy whose a.test takes three requests an hour."""
    async with answering(answer(b"hello")) as backend, proxying(valkey, **server) as proxy:
        async with valkey.client as client:
            await client.hset("options:a.test", "rateLimit", "3/h")
            await client.delete("frontend:a.test")
        await proxy.route("a.test", backend)
        yield proxy


async def statuses(*proxies: Proxy) -> list[int]:
    replies = [await proxy.get() for proxy in proxies]
    return [int(reply.split(b" ", 2)[1]) for reply in replies]


async def test_two_proxies_count_together(valkey: RedisServer) -> None:
    async with (
        limited(valkey, rateLimitTimeout=10) as one,
        proxying(valkey, rateLimitTimeout=10) as two,
    ):
        assert await statuses(one, two, one, two, one) == [200, 200, 200, 429, 429]
        async with valkey.client as client:
            [key] = await client.keys(RATE + "*")
            assert key == key_of("a.test:127.0.0.1", HOURLY)
            assert 3_500 < await client.ttl(key) <= 3_600


async def test_without_redis_a_worker_counts_by_itself(tmp_path: Path) -> None:
    server = await RedisServer(tmp_path).start()
    try:
        async with limited(server) as proxy:
            assert await statuses(proxy) == [200]
            server.kill()
            assert await statuses(proxy, proxy, proxy) == [200, 200, 429]
    finally:
        server.kill()


async def test_a_redis_that_hangs_holds_nobody_up_for_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.stores.redis.shared_rates")
    server = await RedisServer(tmp_path).start()
    try:
        async with rates_of(server, within=0.05) as rates:
            assert await rates.take("a", HOURLY) is not None
            server.pause()
            async with asyncio.timeout(5):
                many = [rates.take(f"b{number}", HOURLY) for number in range(2000)]
                assert set(await asyncio.gather(*many)) == {None}
            assert rates.away
            server.resume()
        assert len(caplog.records) == 1
    finally:
        server.resume()
        server.kill()


@pytest.mark.parametrize(
    "binary",
    [
        VALKEY,
        pytest.param(REDIS, marks=pytest.mark.skipif(REDIS is None, reason="no redis-server")),
    ],
    ids=["valkey", "redis"],
)
async def test_the_script_counts_as_the_function_does(tmp_path: Path, binary: str) -> None:
    server = await RedisServer(tmp_path, binary=binary).start()
    try:
        async with rates_of(server, prefix="p:") as rates:
            asked = [rates.take("a", HOURLY) for _ in range(5)]
            early = await asyncio.gather(*asked)
            assert early[:3] == [0.0, 0.0, 0.0]
            assert all(e is not None and 1199 < e <= 1200 for e in early[3:])
            async with server.client as client:
                assert await client.keys() == ["p:" + key_of("a", HOURLY)]
                await client.script_flush()
                await client.set("p:" + key_of("b", HOURLY), "nonsense")
                await client.lpush("p:" + key_of("c", HOURLY), "another type")
            assert await rates.take("b", HOURLY) == 0.0
            assert await rates.take("c", HOURLY) is None
    finally:
        server.kill()


async def test_who_asks_while_another_waits_shares_the_next_round_trip(
    valkey: RedisServer,
) -> None:
    async with rates_of(valkey) as rates, valkey.client as client:
        await rates.take("a", HOURLY)  # connects, and loads the script
        before = (await client.info("stats"))["total_reads_processed"]
        await asyncio.gather(*(rates.take(f"b{number}", HOURLY) for number in range(400)))
        reads = (await client.info("stats"))["total_reads_processed"] - before
    assert reads < 40


async def test_a_worker_that_ends_leaves_nobody_waiting(tmp_path: Path) -> None:
    server = await RedisServer(tmp_path).start()
    try:
        async with rates_of(server) as rates:
            await rates.take("a", HOURLY)
            server.pause()
            waiting = [asyncio.create_task(rates.take("b", HOURLY)) for _ in range(3)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*waiting) == [None] * 3
    finally:
        server.resume()
        server.kill()


async def test_an_acl_without_options_lets_nobody_in(tmp_path: Path) -> None:
    server = await RedisServer(tmp_path).start()
    try:
        async with answering(answer(b"hello")) as backend, server.client as client:
            await client.execute_command(
                "ACL SETUSER default -@all +lrange +smembers +pttl +ping +hello +client +rpush"
            )
            async with proxying(server) as proxy:
                await proxy.route("a.test", backend)
                assert await statuses(proxy) == [500]
    finally:
        server.kill()


async def test_options_that_can_not_be_read_let_nobody_in(valkey: RedisServer) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey) as proxy:
        async with valkey.client as client:
            await client.set("options:a.test", "a text")
            await client.set("options:*.test", "a text")
        await proxy.route("a.test", backend)
        await proxy.route("*.test", backend)
        assert await statuses(proxy) == [500]
        assert (await proxy.get(host=b"b.test")).startswith(b"HTTP/1.1 500 ")
    assert backend.requests == []
