"""What Redis can do to us: in each case known routes are served, and soon all tell the truth."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import FrontendNotFound, ProxyError
from app.routing import Mark
from app.stores import CachedStore, open_store
from tests.redis_servers import REDIS, VALKEY, RedisServer, sentinel, until

HOSTS = ("a.example", "b.example")
RETURN = 3.0
"""Seconds after the store's return until every worker knows the truth again."""

BLIND = 3.0
"""Seconds that a dead line may go unnoticed, at most."""

needs_redis = pytest.mark.skipif(REDIS is None, reason="no redis-server on PATH")


@pytest.fixture(
    params=[pytest.param(VALKEY, id="valkey"), pytest.param(REDIS, id="redis", marks=needs_redis)]
)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = await RedisServer(tmp_path, binary=request.param).start()
    await write(server, "http://127.0.0.1:1")
    yield server
    server.kill()


async def write(server: RedisServer, url: str) -> None:
    async with server.client as redis, redis.pipeline() as pipe:
        for host in HOSTS:
            pipe.delete(f"frontend:{host}").rpush(f"frontend:{host}", "id", url)
        await pipe.execute()


class Workers:
    """Two workers' routes under a load of lookups."""

    def __init__(self, stores: list[CachedStore]) -> None:
        self.stores = stores
        self.failures: list[ProxyError] = []
        self.asked = 0

    async def ask_for_ever(self) -> None:
        while True:
            for store in self.stores:
                for host in HOSTS:
                    self.asked += 1
                    try:
                        store.known(host) or await store.find(host)
                    except ProxyError as exc:
                        self.failures.append(exc)
            await asyncio.sleep(0.001)

    def all_know(self, url: str | None) -> Callable[[], bool]:
        """Do all workers say that the hosts are served by `url` (None: do not exist)?"""

        def check() -> bool:
            found = [store.known(host) for store in self.stores for host in HOSTS]
            if url is None:
                absent = [store._memory.is_absent(h) for store in self.stores for h in HOSTS]
                return all(absent)
            return all(route and route.frontend.backends[0].url == url for route in found)

        return check

    def all_away(self) -> bool:
        return all(store.away for store in self.stores)


@asynccontextmanager
async def workers(driver: str) -> AsyncIterator[Workers]:
    config = Config(driver=(driver,), server=ServerConfig(snapshot=None))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())  # what one reads, the other need not
        running = Workers([open_store(config, Path(folder)) for _ in range(2)])
        for store in running.stores:
            stack.push_async_callback(store.aclose)
            await store.start()
            for host in HOSTS:
                await store.find(host)
        load = asyncio.create_task(running.ask_for_ever())
        stack.callback(load.cancel)
        yield running
        assert not load.done()
        assert running.asked > 0


async def test_killed_and_back_empty(server):
    async with workers(server.url) as running:
        server.kill()
        await until(running.all_away)
        assert running.failures == []
        await server.start()
        await until(running.all_know(None), seconds=RETURN)
        assert {type(failure) for failure in running.failures} == {FrontendNotFound}


async def test_killed_and_back_with_changed_routes(server):
    async with workers(server.url) as running:
        server.kill()
        await until(running.all_away)
        async with asyncio.timeout(RETURN):
            await server.start()
            await write(server, "http://127.0.0.1:2")
            await until(running.all_know("http://127.0.0.1:2"))
        assert all(isinstance(failure, FrontendNotFound) for failure in running.failures)


async def test_paused(server):
    async with workers(server.url) as running:
        server.pause()
        await until(running.all_away, seconds=BLIND)
        asked = running.asked
        await until(lambda: running.asked > asked + 200, seconds=2)  # nobody waits for it
        server.resume()
        await write(server, "http://127.0.0.1:2")
        await until(running.all_know("http://127.0.0.1:2"), seconds=RETURN)
        assert running.failures == []


async def test_only_the_tracking_connection_is_dropped(server):
    async with workers(server.url) as running, server.client as redis:
        for number in range(2, 12):
            for client in await redis.client_list():
                if "t" in client["flags"]:
                    await redis.client_kill_filter(_id=client["id"])
            await write(server, f"http://127.0.0.1:{number}")
            await until(running.all_know(f"http://127.0.0.1:{number}"), seconds=RETURN)
        assert running.failures == []


async def test_flushed(server):
    async with workers(server.url) as running, server.client as redis:
        await until(running.all_know("http://127.0.0.1:1"))
        await redis.flushall()
        await until(running.all_know(None), seconds=RETURN)
        await write(server, "http://127.0.0.1:2")
        await until(running.all_know("http://127.0.0.1:2"), seconds=RETURN)


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
async def test_out_of_memory(server, policy):
    async with workers(server.url) as running, server.client as redis:
        route = await running.stores[0].find(HOSTS[0])
        await redis.config_set("maxmemory-policy", policy)
        await redis.config_set("maxmemory", 1)
        if policy == "allkeys-lru":  # the routes are evicted, which is said
            await until(running.all_know(None), seconds=RETURN)
        else:  # nothing can be written: a mark counts where it was made
            backend, mark = route.frontend.backends[0], Mark(2e9, 1e9, "refused", "me")
            running.stores[0].mark_dead(route.frontend, backend, mark)
            assert (await running.stores[0].find(HOSTS[0])).marks == {backend.url: mark}
            await redis.config_set("maxmemory", 0)
            await until(lambda: running.stores[1]._memory.marks(HOSTS[0]), seconds=RETURN)
            assert running.failures == []


async def test_a_sentinel_fails_over(server, tmp_path):
    (tmp_path / "replica").mkdir()
    replica = RedisServer(
        tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}", binary=server.binary
    )
    await replica.start()
    async with replica.client as redis, sentinel(tmp_path, server) as watcher:
        while await redis.dbsize() < len(HOSTS):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await watcher.knows_replica()
        async with workers(f"redis+sentinel://127.0.0.1:{watcher.port}/main") as running:
            server.kill()
            await until(running.all_away)
            await watcher.names(replica)
            await write(replica, "http://127.0.0.1:2")
            await until(running.all_know("http://127.0.0.1:2"), seconds=RETURN)
            assert running.failures == []
    replica.kill()
