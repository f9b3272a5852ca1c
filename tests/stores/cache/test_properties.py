"""Whatever is done to the store and its connections: once told, the cache says what is true."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.config.structs import Config, LruCache, ServerConfig
from app.errors import FrontendNotFound
from app.frontends.site import host_of, prefix_of
from app.routing import Route, lookup_keys
from app.stores import CachedStore, driver_of, open_store
from tests.redis_servers import RedisServer

T = TypeVar("T")

SIZE = 5
HOSTS = ("a.b.c", "x.b.c", "b.c", "c", "d", "[::1]")
TARGETS = (b"/", b"/p", b"/p/q/r?s", b"/px")
PREFIXES = ("/p", "/p/q")
hosts = st.sampled_from(HOSTS)
targets = st.sampled_from(TARGETS)
host_keys = st.sampled_from((*HOSTS, "*.b.c", "*.c", "*"))
prefix_keys = st.sampled_from([h + p for h in ("b.c", "*.b.c", "*") for p in PREFIXES])
keys = st.one_of(host_keys, prefix_keys)
rows = st.lists(st.sampled_from([f"http://127.0.0.1:{n}" for n in range(1, 5)]), max_size=3)
indexes = st.integers(0, 3)


class CacheAndServer(RuleBasedStateMachine):
    """Two workers' caches of five hosts over a real server, beside dictionaries. The workers tell
    each other what they read."""

    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.lists: dict[str, list[str]] = {}
        self.dead: dict[str, set[int]] = {}
        self.paths: dict[str, set[str]] = {}
        self.options: dict[str, dict[str, str]] = {}
        config = Config(
            driver=(self.server.url,),
            server=ServerConfig(snapshot=None, lru_cache=LruCache(size=SIZE)),
        )
        self.folder = TemporaryDirectory()
        self.stores = [open_store(config, Path(self.folder.name)) for _ in range(2)]
        self.table = driver_of(config).table()
        self.redis = self.server.client
        self.run(self.redis.flushall())
        for store in self.stores:
            self.run(store.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @rule(key=keys, urls=rows)
    def write(self, key: str, urls: list[str]) -> None:
        async def work() -> None:
            async with self.redis.pipeline() as pipe:
                pipe.delete(f"frontend:{key}").rpush(f"frontend:{key}", "id", *urls)
                if prefix := prefix_of(key):
                    pipe.sadd(f"paths:{host_of(key)}", prefix)
                    self.paths.setdefault(host_of(key), set()).add(prefix)
                await pipe.execute()

        self.run(work())
        self.lists[key] = urls

    @rule(key=prefix_keys)
    def forget_prefix(self, key: str) -> None:
        self.run(self.redis.srem(f"paths:{host_of(key)}", prefix_of(key)))
        self.paths.get(host_of(key), set()).discard(prefix_of(key))

    @rule(key=keys, name=st.sampled_from(["sticky", "policy"]), value=st.sampled_from("ab"))
    def configure(self, key: str, name: str, value: str) -> None:
        self.run(self.redis.hset(f"options:{key}", name, value))
        self.options.setdefault(key, {})[name] = value

    @rule(key=keys, url=st.just("http://127.0.0.1:9"))
    def append(self, key: str, url: str) -> None:
        self.run(self.redis.rpush(f"frontend:{key}", url))
        if key in self.lists:
            self.lists[key] = [*self.lists[key], url]
        else:
            self.lists[key] = []  # what stands first is the identifier

    @rule(key=keys)
    def remove(self, key: str) -> None:
        self.run(self.redis.delete(f"frontend:{key}"))
        self.lists.pop(key, None)

    @rule(key=keys)
    def lapse(self, key: str) -> None:
        async def work() -> None:
            await self.redis.pexpire(f"frontend:{key}", 1)
            while await self.redis.exists(f"frontend:{key}"):  # noqa: ASYNC110
                await asyncio.sleep(0)

        self.run(work())
        self.lists.pop(key, None)

    @rule(key=keys, index=indexes)
    def mark(self, key: str, index: int) -> None:
        self.run(self.redis.sadd(f"dead:{key}", index))
        self.dead.setdefault(key, set()).add(index)

    @rule(key=keys)
    def unmark(self, key: str) -> None:
        self.run(self.redis.delete(f"dead:{key}"))
        self.dead.pop(key, None)

    @rule()
    def flush(self) -> None:
        async def work() -> None:
            await self.redis.flushall()
            while len(await self.redis.keys("hipache:worker:*")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # `wait` knows only workers that have shown up again

        self.run(work())
        for part in (self.lists, self.dead, self.paths, self.options):
            part.clear()

    @rule()
    def drop_the_tracking_connection(self) -> None:
        async def work() -> None:
            for client in await self.redis.client_list():
                if "t" in client["flags"]:
                    await self.redis.client_kill_filter(_id=client["id"])

        self.run(work())

    @rule(host=hosts, asked=targets)
    def ask(self, host: str, asked: bytes) -> None:
        """Only so that reads are under way while something changes."""
        for store in self.stores:
            self.loop.create_task(self._find(store, host, asked))

    @rule(order=st.permutations(HOSTS), asked=targets)
    def compare(self, order: list[str], asked: bytes) -> None:
        workers, missing = self.run(self.table.wait(5))
        assert (workers, missing) == (2, [])
        for host in (*order, *order):  # the second time most of it comes from memory
            for store in self.stores:
                self.check(host, asked, self.run(self._find(store, host, asked)))

    async def _find(self, store: CachedStore, host: str, target: bytes) -> Route | None:
        try:
            return store.known(host, target) or await store.find(host, target)
        except FrontendNotFound:
            return None

    def serving(self, host: str, target: bytes) -> str | None:
        """The key that a person would name after a look at the dictionaries."""
        for key in lookup_keys(host):
            prefixes = self.paths.get(key)
            if key in self.lists or prefixes:
                path = target.decode().partition("?")[0]
                taking = [p for p in prefixes or () if path == p or path.startswith(f"{p}/")]
                names = [key + p for p in sorted(taking, key=len, reverse=True)]
                return next((name for name in (*names, key) if name in self.lists), None)
        return None

    def check(self, host: str, target: bytes, route: Route | None) -> None:
        key = self.serving(host, target)
        if key is None:
            assert route is None
            return
        assert route is not None
        urls = [backend.url for backend in route.frontend.backends]
        assert (route.frontend.key, urls) == (key, self.lists[key])
        own, of_host = self.options.get(key, {}), self.options.get(host_of(key), {})
        assert route.frontend.options == {**of_host, **own}
        found = route.frontend.key, urls, set(route.marks)
        if prefix_of(key):
            assert found[2] == self.marked(key, key)
            return
        # A wildcard's hosts share what is marked for one of them, once somebody asked for it.
        ours = self.marked(key, key) | self.marked(key, host)
        others = set().union(*(self.marked(key, other) for other in HOSTS))
        assert ours <= found[2] <= ours | others

    def marked(self, key: str, under: str) -> set[str]:
        indexes = self.dead.get(under, set())
        return {url for index, url in enumerate(self.lists[key]) if index in indexes}

    @invariant()
    def memory_is_bounded(self) -> None:
        for store in self.stores:
            assert len(store._memory) <= SIZE
            assert len(store._memory.absent()) <= SIZE

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.aclose())
        self.folder.cleanup()
        self.run(self.table.aclose())
        self.run(self.redis.aclose())
        self.loop.close()


def test_the_cache_says_what_a_dictionary_says(shared_valkey: RedisServer) -> None:
    CacheAndServer.server = shared_valkey
    run_state_machine_as_test(
        CacheAndServer,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
