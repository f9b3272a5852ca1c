"""When frontends were last used: what a store keeps, and what the proxy notes of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import redis as redis_py
from websockets.asyncio.client import connect

from app.admin import use_noting
from app.config.structs import Config
from app.routing import NO_MARKS, parse_frontend
from app.stores import driver_of, open_store
from app.stores.base import Found
from app.stores.cache.route_cache import RouteCache
from app.stores.file import uses as file_uses
from app.stores.routes import Routes
from app.stores.tables import RouteTable
from app.stores.uses import GAP, LastUses, noted
from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.serving import proxying
from tests.websocket.peers import echo_backend

A = "http://127.0.0.1:1"


@pytest.fixture(params=["redis", "file"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Config:
    """A store with the frontends a.test and b.test."""
    # An earlier run may have left a file there for a table of the same path.
    monkeypatch.setattr(file_uses, "memory_folder", lambda: tmp_path)
    if request.param == "redis":
        valkey: RedisServer = request.getfixturevalue("valkey")
        with redis_py.Redis(port=valkey.port) as client:
            for key in ("a.test", "b.test"):
                client.rpush(f"p:frontend:{key}", "site", A)
        return Config(driver=(f"{valkey.url}#p:",))
    text = "".join(f'["{key}"]\nbackends = ["{A}"]\n' for key in ("a.test", "b.test"))
    (tmp_path / "routes.toml").write_text(text)
    return Config(driver=(f"file:{tmp_path}/routes.toml",))


async def last_uses(config: Config) -> LastUses:
    table = driver_of(config).table()
    try:
        return await table.last_uses()
    finally:
        await table.aclose()


async def started(config: Config) -> Routes:
    routes = open_store(config)
    await routes.start()
    return routes


async def test_a_store_keeps_the_last_use_of_each_frontend(store: Config) -> None:
    assert await last_uses(store) == LastUses()
    routes = await started(store)
    records = routes.uses
    assert records is not None
    before = int(time.time())
    await records.note(["a.test", "b.test"])
    await records.note([])
    uses = await last_uses(store)
    assert uses.by_key.keys() == {"a.test", "b.test"}
    assert all(before <= at <= time.time() + 1 for at in (*uses.by_key.values(), uses.since))
    assert uses.noted >= uses.since
    await remove(driver_of(store).table(), "b.test")
    async with asyncio.timeout(20):
        while (await last_uses(store)).by_key.keys() != {"a.test"}:
            await records.prune()
    assert (await last_uses(store)).since == uses.since
    await routes.aclose()


async def remove(table: RouteTable, key: str) -> None:
    await table.change([key], lambda before: {})
    await table.aclose()


def test_what_was_idle_is_known_only_where_somebody_noted_all_the_time() -> None:
    uses = LastUses.of(noted({}, ["a.test"], 1000.0))
    assert uses.why_unknown(60.0, 1060.0) == ""
    assert uses.why_unknown(61.0, 1060.0) == "uses are noted for 60 s only"
    assert uses.why_unknown(1.0, 1001.0 + GAP) == "no proxy notes when frontends are used"
    later = LastUses.of(noted(noted({}, ["a.test"], 1000.0), ["b.test"], 1000.0 + GAP))
    assert (later.since, later.by_key) == (1000.0, {"a.test": 1000.0, "b.test": 1000.0 + GAP})
    after_a_gap = LastUses.of(noted(noted({}, ["a.test"], 1000.0), [], 1001.0 + GAP))
    assert (after_a_gap.since, after_a_gap.by_key) == (1001.0 + GAP, {"a.test": 1000.0})


def test_what_is_asked_for_is_used_once_and_also_if_it_is_forgotten_since() -> None:
    cache = RouteCache(2, lambda key: {})
    for host in ("a.test", "b.test", "c.test"):  # the third one takes the place of the first
        cache.keep(host, Found(parse_frontend(host, ["site", A]), NO_MARKS), fresh=True)
        cache.uses.asked_for(host)
    assert set(cache.uses.take(frozenset())) == {"a.test", "b.test", "c.test"}
    assert set(cache.uses.take(frozenset())) == set()
    cache.known("b.test")
    assert set(cache.uses.take(frozenset())) == {"b.test"}
    assert set(cache.uses.take(frozenset({A}))) == {"b.test", "c.test"}
    cache.known("c.test")
    cache.keep("d.test", Found(parse_frontend("d.test", ["site", A]), NO_MARKS), fresh=True)
    cache.uses.asked_for("d.test")
    cache.uses.asked_for("e.test")  # it was forgotten before the request went on
    assert set(cache.uses.take(frozenset())) == {"c.test", "d.test", "e.test"}


async def test_a_look_is_no_use(store: Config) -> None:
    """The dashboard reads the sites that it lists: they are no less idle for that."""
    routes = await started(store)
    await routes.find_host("a.test")
    assert [*routes.take_used(frozenset())] == []
    await routes.find("b.test")
    assert [*routes.take_used(frozenset())] == ["b.test"]
    assert routes.known("a.test") is not None
    assert [*routes.take_used(frozenset())] == ["a.test"]
    await routes.aclose()


async def test_a_proxy_notes_requests_and_sessions_that_last(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_noting, "NOTE_EVERY", 0.01)
    config = Config(driver=(valkey.url,))
    async with (
        answering(answer(b"in")) as there,
        echo_backend() as echo,
        proxying(valkey) as proxy,
    ):
        await proxy.route("a.test", there)
        await proxy.route("ws.test", echo)
        await proxy.route("never.test", there.url.replace("127.0.0.1", "127.0.0.2"))
        await proxy.get()
        opening = connect(f"ws://ws.test:{proxy.port}", host="127.0.0.1", proxy=None)
        async with asyncio.timeout(20), opening:
            while (await last_uses(config)).by_key.keys() != {"a.test", "ws.test"}:
                pass
            async with valkey.client as client:
                await client.hdel("hipache:used", "ws.test", "a.test")
            while (await last_uses(config)).by_key.keys() != {"ws.test"}:
                pass
