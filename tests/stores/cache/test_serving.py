"""What Redis can do to a whole proxy: two workers under load, told apart.

In each case no request for a known route fails, and within RETURN seconds of
the store's return every worker tells the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.backends import answer, answering, refusing
from tests.processes import Service, serve
from tests.redis_servers import REDIS, VALKEY, RedisServer, sentinel
from tests.whole_proxy import WorkerClient, clients_of, load

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETURN = 3.0
FRONTENDS = ("a.example", "*.wild.example")
HOSTS = ("a.example", "b.wild.example")

needs_redis = pytest.mark.skipif(REDIS is None, reason="no redis-server on PATH")
SERVERS = [
    pytest.param(VALKEY, id="valkey"),
    pytest.param(REDIS, id="redis", marks=needs_redis),
]


@dataclass
class Site:
    """A store, a proxy, and backends that say `one` and `two`."""

    redis: RedisServer
    service: Service
    one: str
    two: str


@asynccontextmanager
async def backends() -> AsyncIterator[tuple[str, str]]:
    async with answering(answer(b"one")) as one, answering(answer(b"two")) as two:
        yield one.url, two.url


async def route(server: RedisServer, *urls: str, frontends: Sequence[str] = FRONTENDS) -> None:
    """Write the frontends as a whole."""
    async with server.client as redis, redis.pipeline() as pipe:
        for key in frontends:
            pipe.delete(f"frontend:{key}").rpush(f"frontend:{key}", "id", *urls)
        await pipe.execute()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SERVERS)
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """One proxy for all of them: what one case leaves behind must not harm the next."""
    folder = tmp_path_factory.mktemp("site")
    redis = await RedisServer(folder, binary=request.param).start()
    async with backends() as urls, serve(folder, redis.url) as service:
        yield Site(redis, service, *urls)
    redis.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> Site:
    """The hosts are known to every worker, and served by `one`."""
    await route(running.redis, running.one)
    async with load(running.service, HOSTS) as asked:
        await asked.all_say(b"one", seconds=RETURN)
    return running


@asynccontextmanager
async def probes(site: Site) -> AsyncIterator[list[WorkerClient]]:
    """A connection to each worker, beside the load."""
    clients = await clients_of(site.service)
    yield clients
    for client in clients:
        client.close()


async def noticed(site: Site) -> None:
    """Until every worker says 503 to a host that it does not know."""
    async with probes(site) as clients, asyncio.timeout(5):
        for client in clients:
            while await client.get("unknown.example") != b"503":
                pass


async def test_killed_and_back_empty(site):
    async with load(site.service, HOSTS) as asked:
        site.redis.kill()
        await noticed(site)
        assert b"\r\nretry-after: " in (await site.service.ask("unknown.example")).lower()
        await asked.goes_on()
        assert asked.answers == {b"one"}
        await site.redis.start()
        await asked.all_say(b"400", seconds=RETURN)
        assert asked.answers == {b"one", b"400"}


async def test_killed_and_back_with_changed_routes(site):
    elsewhere = await RedisServer(site.redis.directory, binary=site.redis.binary).start()
    await route(elsewhere, site.two)
    async with elsewhere.client as redis:
        await redis.save()
    elsewhere.kill()
    async with load(site.service, HOSTS) as asked:
        site.redis.kill()
        await noticed(site)
        await site.redis.start()
        (site.redis.directory / "dump.rdb").unlink()
        await asked.all_say(b"two", seconds=RETURN)
        assert asked.answers == {b"one", b"two"}


@pytest.mark.parametrize("seconds", [0, pytest.param(10, marks=pytest.mark.long)])
async def test_paused(site, seconds):
    async with load(site.service, HOSTS) as asked:
        site.redis.pause()
        await noticed(site)
        await asyncio.sleep(seconds)
        await asked.goes_on()
        site.redis.resume()
        await route(site.redis, site.two)
        await asked.all_say(b"two", seconds=RETURN)
        assert asked.answers == {b"one", b"two"}


async def test_only_the_tracking_connections_are_dropped(site):
    async with load(site.service, HOSTS) as asked, site.redis.client as redis:
        for url, name in [(site.two, b"two"), (site.one, b"one")]:
            tracking = [c["id"] for c in await redis.client_list() if "t" in c["flags"]]
            assert tracking
            for number in tracking:
                await redis.client_kill_filter(_id=number)
            await route(site.redis, url)
            await asked.all_say(name, seconds=RETURN)
            await tracked(site)
        assert asked.answers == {b"one", b"two"}


async def tracked(site: Site) -> None:
    """Until the proxy is told what changes."""
    async with asyncio.timeout(RETURN), site.redis.client as redis:
        while not [c for c in await redis.client_list() if "t" in c["flags"]]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_flushed(site):
    async with load(site.service, HOSTS) as asked, site.redis.client as redis:
        await redis.flushall()
        await asked.all_say(b"400", seconds=RETURN)
        await route(site.redis, site.two)
        await asked.all_say(b"two", seconds=RETURN)
        assert asked.answers == {b"one", b"400", b"two"}


async def test_out_of_memory_marks_are_each_workers_own_until_they_can_be_written(site):
    async with refusing() as dead, site.redis.client as redis:
        await route(site.redis, site.one, dead, frontends=["sick.example"])
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", 1)
        async with load(site.service, [*HOSTS, "sick.example"]) as asked:
            await asked.all_say(b"one", seconds=RETURN)
            assert not await redis.exists("dead-info:sick.example")
            await redis.config_set("maxmemory", 0)
            async with asyncio.timeout(RETURN):
                while not await redis.exists("dead-info:sick.example"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert asked.answers == {b"one"}


async def test_out_of_memory_an_evicted_frontend_is_gone(site):
    async with load(site.service, HOSTS) as asked, site.redis.client as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", 1)
        await asked.all_say(b"400", seconds=RETURN)
        await redis.config_set("maxmemory", 0)
        await route(site.redis, site.two)
        await asked.all_say(b"two", seconds=RETURN)
        assert asked.answers == {b"one", b"400", b"two"}


@pytest.mark.parametrize("binary", SERVERS)
async def test_sentinel_fails_over_by_hand_and_after_a_death(binary, tmp_path):
    async with AsyncExitStack() as stack:
        first = await RedisServer(tmp_path, binary=binary).start()
        stack.callback(first.kill)
        (tmp_path / "second").mkdir()
        replicates = "--replicaof", f"127.0.0.1 {first.port}"
        second = await RedisServer(tmp_path / "second", *replicates, binary=binary).start()
        stack.callback(second.kill)
        watcher = await stack.enter_async_context(sentinel(tmp_path, first))
        one, two = await stack.enter_async_context(backends())
        await route(first, one)
        await watcher.knows_replica()
        driver = f"redis+sentinel://127.0.0.1:{watcher.port}/main"
        service = await stack.enter_async_context(serve(tmp_path, driver))
        asked = await stack.enter_async_context(load(service, HOSTS))
        await asked.all_say(b"one", seconds=RETURN)
        asked.forget()

        async with watcher.client as sentinels:
            await sentinels.execute_command("SENTINEL", "FAILOVER", "main")
        await watcher.names(second)
        await route(second, two)
        await asked.all_say(b"two", seconds=RETURN)
        assert asked.answers == {b"one", b"two"}

        await watcher.knows_replica()
        second.kill()
        await watcher.names(first)
        await route(first, one)
        await asked.all_say(b"one", seconds=RETURN)
        assert asked.answers == {b"one", b"two"}
