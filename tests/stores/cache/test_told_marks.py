"""Marks that the workers of one machine share while no store does it for them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.config.structs import Config
from app.routing import Mark
from app.stores import open_store
from app.stores.cache.cached_store import CachedStore
from app.system.worker_team import joined_team
from tests.redis_servers import RedisServer, until

URL = "http://127.0.0.1:1"


@asynccontextmanager
async def worker(folder: Path, driver: str) -> AsyncIterator[CachedStore]:
    """Its routes, which has been asked for a.test."""
    async with AsyncExitStack() as stack:
        team = stack.enter_context(joined_team(folder, wanted=True))
        routes = open_store(Config(driver=(driver,)))
        assert isinstance(routes, CachedStore)
        await routes.start()
        stack.push_async_callback(routes.aclose)
        routes.share_marks(team)
        await routes.find("a.test")
        yield routes


def mark(routes: CachedStore) -> Mark:
    """Have a worker mark the backend."""
    route = routes.in_memory("a.test")
    assert route is not None
    now = time.time()
    made = Mark(now + 60, now, "it is away" * 1000, "gate1", 2, evidence=True)
    routes.mark_dead(route.frontend, route.frontend.backends[0], made)
    return made


def clear(routes: CachedStore) -> None:
    route = routes.in_memory("a.test")
    assert route is not None
    routes.clear_mark(route.frontend, route.frontend.backends[0])


def marked(routes: CachedStore) -> Mark | None:
    route = routes.in_memory("a.test")
    assert route is not None
    return route.marks.get(URL)


async def test_a_file_holds_no_marks_but_workers_tell_each_other(tmp_path: Path) -> None:
    (tmp_path / "routes.json").write_text(json.dumps({"a.test": {"backends": [URL]}}))
    driver = f"file:{tmp_path}/routes.json"
    async with worker(tmp_path, driver) as one, worker(tmp_path, driver) as two:
        made = mark(one)
        await until(lambda: marked(two))
        told = marked(two)
        assert told is not None
        assert (told.until, told.by, told.failures, told.evidence) == (made.until, "gate1", 2, True)
        async with worker(tmp_path, driver) as three:  # one that has just been started
            await until(lambda: marked(three))
            clear(two)
            await until(lambda: not (marked(one) or marked(three)))
    async with worker(tmp_path, driver) as one:
        mark(one)
        assert marked(one)


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """One that may be killed."""
    server = await RedisServer(tmp_path).start()
    yield server
    server.kill()


async def test_while_redis_is_away_workers_tell_each_other(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with valkey.client as redis:
        await redis.rpush("frontend:a.test", "id", URL)
    async with worker(tmp_path, valkey.url) as one, worker(tmp_path, valkey.url) as two:
        valkey.kill()
        await until(lambda: one.away and two.away)
        mark(one)
        await until(lambda: marked(two))
        clear(two)
        await until(lambda: not marked(one))
        mark(two)
        await until(lambda: marked(one))
        await valkey.start()
        async with valkey.client as redis:
            await redis.rpush("frontend:a.test", "id", URL)
        await until(lambda: not (one.away or two.away))
        for routes in (one, two):
            await routes.find("a.test")
        async with valkey.client as redis:
            while not await redis.hget("dead-info:a.test", URL):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the second one brings it there, and tells nobody
            await until(lambda: marked(one))
            await redis.delete("dead:a.test", "dead-info:a.test")
        await until(lambda: not (marked(one) or marked(two)))  # nothing of what was told is left
