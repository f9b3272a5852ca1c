"""Prefixes in a real server: `paths:<host>` and the lists that it names."""

import asyncio

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import FrontendNotFound
from app.routing import Mark
from app.stores import open_store
from app.stores.base import FOREIGN
from tests.redis_servers import RedisServer, until
from tests.stores.redis.test_store import remembered, routes, store, urls

__all__ = ["store"]

A, B, C = "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"


async def write(redis, key: str, *backends: str) -> None:
    """A prefix as anybody writes it: both keys in one step."""
    host, slash, rest = key.partition("/")
    pipe = redis.pipeline(transaction=True)
    pipe.delete(f"frontend:{key}")
    pipe.rpush(f"frontend:{key}", "id", *backends)
    pipe.sadd(f"paths:{host}", slash + rest)
    await pipe.execute()


async def key_of(store, host: str, target: bytes) -> str:
    return (await store.find(host, target)).frontend.key


async def test_a_path_finds_the_list_of_its_prefix_and_all_others_the_hosts(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        await write(redis, "a.example/api", B)
        await write(redis, "a.example/api/v2", C)
    assert urls(await store.find("a.example", b"/apix")) == [A]
    assert urls(await store.find("a.example", b"/api/x")) == [B]
    assert urls(await store.find("a.example", b"/api/v2?x")) == [C]


async def test_without_a_list_of_its_own_a_host_has_its_prefixes_only(valkey, store):
    async with valkey.client as redis:
        await write(redis, "a.example/api", A)
        await redis.rpush("frontend:*.example", "id", B)
    assert await key_of(store, "a.example", b"/api") == "a.example/api"
    with pytest.raises(FrontendNotFound):
        await store.find("a.example", b"/")
    assert (await store.find_host("a.example")).frontend.key == "a.example"


async def test_an_exact_host_hides_the_prefixes_of_its_wildcard(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        await write(redis, "*.example/api", B)
    assert await key_of(store, "a.example", b"/api") == "a.example"
    assert await key_of(store, "b.example", b"/api/x") == "*.example/api"


async def test_a_prefix_whose_list_is_gone_takes_nothing(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        await write(redis, "a.example/x", B)
        await write(redis, "a.example/x/y", C)
        await redis.delete("frontend:a.example/x/y")
        assert await key_of(store, "a.example", b"/x/y") == "a.example/x"
        assert await remembered_at(store, "a.example", b"/x/y") == "a.example/x"
        await redis.delete("frontend:a.example/x")
        await until(lambda: store.known("a.example", b"/x/y") is None)
        assert await key_of(store, "a.example", b"/x/y") == "a.example"


async def remembered_at(store, host: str, target: bytes) -> str:
    while (route := store.known(host, target)) is None:
        await store.find(host, target)
    return route.frontend.key


async def test_every_change_is_seen_at_once(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        assert await remembered_at(store, "a.example", b"/api") == "a.example"
        await write(redis, "a.example/api", B)
        await until(lambda: store.known("a.example", b"/api") is None)
        assert await remembered_at(store, "a.example", b"/api") == "a.example/api"
        before = store.known("a.example", b"/api")
        await redis.rpush("frontend:a.example/api", C)
        await until(lambda: store.known("a.example", b"/api") is not before)
        assert urls(await store.find("a.example", b"/api")) == [B, C]
        await redis.srem("paths:a.example", "/api")
        await until(lambda: store.known("a.example", b"/api") is None)
        assert await key_of(store, "a.example", b"/api") == "a.example"


async def test_a_further_prefix_leaves_the_others_in_memory(valkey, store):
    async with valkey.client as redis:
        await write(redis, "a.example/one", A)
        assert await remembered_at(store, "a.example", b"/one") == "a.example/one"
        one = store.known("a.example", b"/one")
        await redis.config_resetstat()
        await write(redis, "a.example/two", B)
        assert await remembered_at(store, "a.example", b"/two") == "a.example/two"
        assert store.known("a.example", b"/one") is one


async def test_a_prefix_inherits_the_options_of_its_host(valkey, store):
    async with valkey.client as redis:
        await write(redis, "a.example/api", B)
        await redis.hset("options:a.example", mapping={"policy": "hash", "sticky": "on"})
        await redis.hset("options:a.example/api", "sticky", "off")
        await remembered_at(store, "a.example", b"/api")
        frontend = store.known("a.example", b"/api").frontend
        assert frontend.options == {"policy": "hash", "sticky": "off"}
        await redis.hset("options:a.example", "panic", "off")
        await until(lambda: store.known("a.example", b"/api") is None)
        frontend = (await store.find("a.example", b"/api")).frontend
        assert frontend.options == {"policy": "hash", "sticky": "off", "panic": "off"}


async def test_unreadable_options_of_the_host_close_its_prefixes(valkey, store):
    async with valkey.client as redis:
        await write(redis, "a.example/api", B)
        await redis.set("options:a.example", "x")
    frontend = (await store.find("a.example", b"/api")).frontend
    assert frontend.settings.values["protection"].unreadable


async def test_marks_stand_under_the_prefixs_own_key(valkey, store):
    async with valkey.client as redis:
        await write(redis, "a.example/api", A, B)
        await redis.rpush("frontend:a.example", "id", A, B)
        frontend = (await store.find("a.example", b"/api")).frontend
        store.mark_dead(frontend, frontend.backends[0], Mark(2e9, 1.0, "test", "us"))
        await store._local.flush(5)
        assert await redis.smembers("dead:a.example/api") == {"0"}
        await redis.sadd("dead:a.example/api", 1)
        await until(lambda: len(store.marks_of(frontend)) == 2)
    assert store.marks_of(frontend)[B].by == FOREIGN
    assert (await store.find("a.example", b"/")).marks == {}


async def test_a_hot_path_costs_the_store_no_command(valkey, store):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        await write(redis, "a.example/api", B)
        for target in (b"/", b"/api", b"/api/x"):
            await remembered_at(store, "a.example", target)
        await redis.config_resetstat()
        for _ in range(100):
            assert store.known("a.example", b"/api/x").frontend.key == "a.example/api"
            assert store.known("a.example", b"/").frontend.key == "a.example"
        assert (
            not {"cmdstat_lrange", "cmdstat_smembers"} & (await redis.info("commandstats")).keys()
        )


async def test_prefixes_count_among_the_hosts_that_are_remembered(valkey):
    async with valkey.client as redis:
        for number in range(20):
            await write(redis, f"a.example/{number}", A)
    async with routes(valkey.url) as store:
        store._memory._size = 5
        for number in range(20):
            assert await key_of(store, "a.example", b"/%d" % number) == f"a.example/{number}"
        assert len(store._memory) == 5
        assert len(store._memory._below.of("a.example")) <= 5


async def test_a_prefixed_database_has_prefixed_paths(valkey):
    async with valkey.client as redis:
        await redis.rpush("p:frontend:a.example/api", "id", A)
        await redis.sadd("p:paths:a.example", "/api")
        async with routes(f"{valkey.url}#p:") as store:
            assert await remembered_at(store, "a.example", b"/api") == "a.example/api"
            await redis.delete("p:paths:a.example")
            await until(lambda: store.known("a.example", b"/api") is None)


async def test_another_type_in_the_place_of_the_set_costs_a_line(valkey, store, caplog):
    async with valkey.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        await redis.set("paths:a.example", "x")
    assert urls(await store.find("a.example", b"/api")) == [A]
    assert "prefixes unreadable key=paths:a.example cause=WRONGTYPE" in caplog.text


async def test_a_user_without_the_right_to_read_paths_has_hosts(tmp_path, caplog):
    """One that was set up for an older Hipache."""
    server = await RedisServer(tmp_path).start()
    async with server.client as redis:
        await redis.rpush("frontend:a.example", "id", A)
        await redis.acl_setuser(
            "old", enabled=True, passwords=["+secret"], categories=["+@all"],
            keys=["frontend:*", "options:*", "dead:*", "dead-info:*", "hipache:*"],
        )  # fmt: skip
    async with routes(server.url.replace("//", "//old:secret@")) as store:
        await remembered(store, "a.example")
        with pytest.raises(FrontendNotFound):
            await store.find("b.test")
    assert caplog.text.count("prefixes unreadable") == 1
    server.kill()


async def test_while_the_store_is_away_known_paths_are_served(tmp_path):
    server = await RedisServer(tmp_path).start()
    async with server.client as redis:
        await write(redis, "a.example/api", A)
    config = Config(driver=(server.url,), server=ServerConfig(snapshot=str(tmp_path / "s")))
    store = open_store(config)
    await store.start()
    assert await key_of(store, "a.example", b"/api/x") == "a.example/api"
    await store._archive._write()
    server.kill()
    await until(lambda: store.away)
    assert await key_of(store, "a.example", b"/api/x") == "a.example/api"
    await store.aclose()
    again = open_store(config)
    await asyncio.wait_for(again.start(), 10)
    assert await key_of(again, "a.example", b"/api/x") == "a.example/api"
    with pytest.raises(FrontendNotFound):
        await again.find("a.example", b"/x")
    await again.aclose()
