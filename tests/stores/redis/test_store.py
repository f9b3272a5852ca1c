"""Hipache's keys in a real server, read and written as every other program expects."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import FrontendNotFound, StoreUnavailable
from app.frontends.backends import MAX_BACKENDS, TOO_MANY
from app.frontends.options import Options
from app.routing import Mark, Route
from app.stores import CachedStore, open_store
from app.stores.cache.reads import MAX_TOLD
from tests.ports import free_port
from tests.redis_servers import RedisServer, until


@asynccontextmanager
async def routes(url: str, **server: float) -> AsyncIterator[CachedStore]:
    store = open_store(Config(driver=(url,), server=ServerConfig(**server)))  # type: ignore[arg-type]
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def store(valkey: RedisServer) -> AsyncIterator[CachedStore]:
    async with routes(valkey.url) as store:
        yield store


def urls(route: Route) -> list[str]:
    return [backend.url for backend in route.frontend.backends]


async def remembered(store: CachedStore, host: str) -> Route:
    """The route once memory answers: the push about our own write may come after a first read."""
    while (route := store.known(host)) is None:
        await store.find(host)
    return route


async def changed(store: CachedStore, host: str) -> None:
    """Wait until `host` is no longer answered from memory."""
    await until(lambda: store.known(host) is None)


async def test_the_three_steps_of_hipaches_readme_work(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:www.dotcloud.com", "mywebsite")
        await redis.rpush("frontend:www.dotcloud.com", "http://192.168.0.42:80")
        await redis.rpush("frontend:www.dotcloud.com", "http://192.168.0.43:80")
    route = await store.find("www.dotcloud.com")
    assert route.frontend.identifier == "mywebsite"
    assert urls(route) == ["http://192.168.0.42:80", "http://192.168.0.43:80"]


async def test_a_host_without_a_frontend_is_not_found(store):
    with pytest.raises(FrontendNotFound):
        await store.find("nowhere.example")


@pytest.mark.parametrize(
    ("keys", "host", "match"),
    [
        (["foo.bar", "*.bar", "*"], "foo.bar", "foo.bar"),
        (["*.foo.bar"], "foo.bar", None),
        (["*.foo"], "bar.foo", "*.foo"),
        (["*.bar.foo", "*.foo", "*"], "x.bar.foo", "*.bar.foo"),
        (["*"], "anything.at.all", "*"),
        (["*.quuux.foo.bar.baz.qux.quux"], "too.deep.quuux.foo.bar.baz.qux.quux", None),
    ],
)
async def test_the_most_specific_list_wins(valkey, store, keys, host, match):
    async with valkey.client as redis:
        for key in keys:
            await redis.rpush(f"frontend:{key}", "id", "http://127.0.0.1:1")
    if match is None:
        with pytest.raises(FrontendNotFound):
            await store.find(host)
    else:
        assert (await store.find(host)).frontend.key == match


async def test_a_key_of_the_wrong_type_is_a_frontend_that_can_not_serve(valkey, store, caplog):
    async with valkey.client as redis:
        await redis.set("frontend:odd.example", "a string")
        await redis.set("dead:odd.example", "a string")
        await redis.set("options:odd.example", "a string")
    frontend = (await store.find("odd.example")).frontend
    assert (frontend.backends, frontend.bad_entries[0].reason) == (
        (),
        "frontend:odd.example is not a list",
    )
    assert [r.getMessage() for r in caplog.records] == [
        "backend unusable frontend=odd.example cause=frontend:odd.example is not a list"
    ]


async def test_planbs_lock_beside_the_marks_does_no_harm(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
        await redis.set("dead:a.example:http://127.0.0.1:1", "planb-host", ex=30)
    assert (await store.find("a.example")).marks == {}


async def test_bytes_that_are_no_utf8_can_be_shown(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", b"caf\xe9 \xc3\xa9", "http://127.0.0.1:1")
    assert (await store.find("a.example")).frontend.identifier == "caf\\xe9 \u00e9"


async def test_rows_as_people_write_them(valkey, store, caplog):
    """`echo URL | redis-cli -x rpush`; a mark goes by the row as it stands there."""
    row = "http://127.0.0.1:1\n"
    async with valkey.client as redis:
        await redis.rpush("frontend:a.test", "id", row, "9101")
        await redis.hset("options:a.test", "drain:http://127.0.0.1:1", "on")
    route = await store.find("a.test")
    assert [b.origin for b in route.frontend.backends] == [("http", "127.0.0.1", 1)]
    assert route.frontend.settings.over(Options()).drained == {row}
    store.mark_dead(route.frontend, route.frontend.backends[0], a_mark())
    await store._local.flush(2)
    async with valkey.client as redis:
        assert await redis.hkeys("dead-info:a.test") == [row]
        assert await redis.smembers("dead:a.test") == {"0"}
    assert "a number is no host (did you mean http://127.0.0.1:9101?)" in caplog.text
    assert "white space around it is ignored" in caplog.text


async def test_a_wildcards_options_name_its_backends(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:*.test", "id", "http://127.0.0.1:1")
        await redis.hset("options:*.test", "drain:http://127.0.0.1:2", "on")
    problems = (await store.find("a.test")).frontend.settings.problems
    assert len(problems) == 1
    assert "did you mean http://127.0.0.1:1?" in problems[0]


async def test_options_come_with_their_frontend(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:*.example", "id", "http://127.0.0.1:1")
        await redis.hset("options:*.example", mapping={"policy": "hash"})
    assert dict((await store.find("a.example")).frontend.options) == {"policy": "hash"}


async def test_a_prefix_goes_before_every_key(valkey):
    async with valkey.client as redis, routes(f"{valkey.url}#blue:") as store:
        await redis.rpush("blue:frontend:a.example", "id", "http://127.0.0.1:1")
        await remembered(store, "a.example")
        await redis.rpush("blue:frontend:a.example", "http://127.0.0.1:2")
        await changed(store, "a.example")
        assert len(urls(await store.find("a.example"))) == 2


async def test_a_unix_socket_and_a_database_number_work(valkey):
    async with valkey.client as redis, routes(f"{valkey.unix_url}?db=3") as store:
        await redis.select(3)
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
        assert urls(await store.find("a.example")) == ["http://127.0.0.1:1"]


async def test_a_frontend_with_a_ttl_disappears_when_it_lapses(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:preview-17", "id", "http://127.0.0.1:1")
        await remembered(store, "preview-17")
        await redis.pexpire("frontend:preview-17", 30)
        await changed(store, "preview-17")
        await remembered(store, "preview-17")
        await changed(store, "preview-17")
    with pytest.raises(FrontendNotFound):
        await store.find("preview-17")


# Marks.


@pytest.fixture
async def route(valkey: RedisServer, store: CachedStore) -> Route:
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1", "http://127.0.0.1:2")
    return await remembered(store, "a.example")


def a_mark(seconds: float = 30) -> Mark:
    return Mark(time.time() + seconds, time.time(), "refused", "proxy-1", 2)


async def test_a_mark_counts_here_at_once(store, route):
    mark = a_mark()
    store.mark_dead(route.frontend, route.frontend.backends[1], mark)
    assert store.known("a.example").marks == {"http://127.0.0.1:2": mark}


async def test_a_mark_is_written_as_old_readers_expect_and_announced(valkey, store, route):
    async with valkey.client as redis, redis.pubsub() as channel:
        await channel.subscribe("dead")
        await channel.get_message(timeout=10)
        store.mark_dead(route.frontend, route.frontend.backends[1], a_mark())
        message = await channel.get_message(timeout=10, ignore_subscribe_messages=True)
        assert message["data"] == "a.example;http://127.0.0.1:2;1;2"
        assert await redis.smembers("dead:a.example") == {"1"}
        assert 29 <= await redis.ttl("dead:a.example") <= 30
        info = json.loads(await redis.hget("dead-info:a.example", "http://127.0.0.1:2"))
    assert (info["reason"], info["by"], info["failures"], info["index"]) == (
        "refused",
        "proxy-1",
        2,
        1,
    )


async def test_another_worker_sees_the_mark(valkey, store, route):
    async with routes(valkey.url) as other:
        await remembered(other, "a.example")
        mark = a_mark()
        store.mark_dead(route.frontend, route.frontend.backends[0], mark)
        await until(lambda: other.known("a.example").marks)
        assert other.known("a.example").marks == {"http://127.0.0.1:1": mark}


async def test_a_cleared_mark_is_gone_everywhere(valkey, store, route):
    backend = route.frontend.backends[1]
    store.mark_dead(route.frontend, backend, a_mark())
    store.clear_mark(route.frontend, backend)
    assert store.known("a.example").marks == {}
    await store._local.flush(2)
    async with valkey.client as redis:
        assert await redis.keys("dead*") == []


async def test_a_mark_follows_its_backend_when_the_list_is_edited(valkey, store, route):
    store.mark_dead(route.frontend, route.frontend.backends[1], a_mark())
    await store._local.flush(2)
    async with valkey.client as redis:
        await redis.lrem("frontend:a.example", 0, "http://127.0.0.1:1")
        await redis.rpush("frontend:a.example", "http://127.0.0.1:3")
        await changed(store, "a.example")
        edited = await store.find("a.example")
        assert list(edited.marks) == ["http://127.0.0.1:2"]
        store.mark_dead(edited.frontend, edited.frontend.backends[0], a_mark())
        await store._local.flush(2)
        assert await redis.smembers("dead:a.example") == {"0"}


async def test_an_index_of_an_old_hipache_counts_until_it_expires(valkey, store, route):
    async with valkey.client as redis:
        await redis.sadd("dead:a.example", 0, 7, "x")
        await redis.expire("dead:a.example", 20)
    await until(lambda: store.known("a.example").marks)
    [(url, mark)] = store.known("a.example").marks.items()
    assert (url, mark.by) == ("http://127.0.0.1:1", "foreign")
    assert 18 < mark.until - time.time() <= 20


async def test_a_wildcards_hosts_share_what_an_old_hipache_marked_for_one(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:*.example", "id", "http://127.0.0.1:1", "http://127.0.0.1:2")
        await redis.sadd("dead:a.example", 1)
        await remembered(store, "a.example")
        assert await remembered(store, "b.example") is store.known("a.example")
        [(url, mark)] = store.known("b.example").marks.items()
        assert (url, mark.until) == ("http://127.0.0.1:2", math.inf)
        await redis.delete("dead:a.example")
        await changed(store, "a.example")
        assert (await store.find("a.example")).marks == {}


# The store is away.


async def test_a_store_that_is_away_from_the_start_is_an_outage_for_unknown_hosts(tmp_path):
    async with routes(f"redis://127.0.0.1:{free_port()}") as store:
        assert not store.ready
        with pytest.raises(StoreUnavailable):
            await store.find("a.example")


@pytest.fixture
async def own(tmp_path) -> AsyncIterator[RedisServer]:
    server = await RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.mark.parametrize("failure", ["killed", "hung"])
async def test_known_routes_are_served_while_the_store_is_away(own, failure, caplog):
    async with own.client as redis, routes(own.url, store_timeout=0.1) as store:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
        before = await store.find("a.example")
        getattr(own, "kill" if failure == "killed" else "pause")()
        with pytest.raises(StoreUnavailable):
            await store.find("b.example")
        assert await store.find("a.example") is before
        await until(lambda: store.away)
        assert await store.find("a.example") is before
    assert [r.levelname for r in caplog.records].count("ERROR") == 1


async def test_a_read_can_be_cancelled_at_every_step(valkey):
    for steps in range(40):
        async with routes(valkey.url) as store:
            read = asyncio.create_task(store.store.lookup("a.example"))
            for _ in range(steps):
                await asyncio.sleep(0)
            if read.cancel():  # else it is done already
                await asyncio.wait({read})
                assert read.cancelled()


async def test_a_list_of_thousands_is_cut_and_told_in_few_lines(valkey, store, caplog):
    rows = [f"http://10.0.0.1:80/{number}" for number in range(3 * MAX_BACKENDS)]
    async with valkey.client as redis:
        await redis.rpush("frontend:a.test", "id", *rows)
    assert urls(await store.find("a.test")) == rows[:MAX_BACKENDS]
    said = [line for line in caplog.messages if "frontend=a.test" in line]
    assert any(TOO_MANY.reason in line for line in said)
    assert f"count={MAX_BACKENDS - MAX_TOLD}" in said[-1]
    assert len(said) == MAX_TOLD + 2
