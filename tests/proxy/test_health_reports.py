"""From outcomes to marks: two workers, their balancers and one real store, a clock of our own."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest

from app.balancing.balancer import Balancer, RequestFacts
from app.config.structs import Config, ServerConfig
from app.errors import (
    NoLiveBackend,
    UpstreamBusy,
    UpstreamError,
    UpstreamReset,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.frontends.options import Options
from app.health import STRIKES
from app.proxy.health_reports import Checkers, HealthReports
from app.routing import Backend, Route
from app.stores import CachedStore, open_store
from tests.redis_servers import RedisServer, until

HOST, A, B = "www.example.com", "http://10.0.0.1:80", "http://10.0.0.2:80"
NOBODY = RequestFacts("192.0.2.1", [])


@dataclass
class Worker:
    """What one worker process has of all this."""

    store: CachedStore
    balancer: Balancer
    reports: HealthReports
    checkers: Checkers
    ahead: float = 0.0
    """Seconds that this worker's clock runs before everybody's: time passes when a test says."""

    async def route(self) -> Route:
        return self.store.known(HOST) or await self.store.find(HOST)

    async def attempt(self, error: UpstreamError | None = None, status: int = 200) -> str:
        """One attempt that ends like this: the URL it went to."""
        route = await self.route()
        backend = self.balancer.pick(route, NOBODY)
        self.balancer.started(route, backend)
        if error is not None:
            self.reports.failed(route, backend, error)
        else:
            self.reports.answered(route, backend, status, [])
        self.balancer.finished(route, backend)
        return backend.url

    async def kill(self, url: str, error: UpstreamError | None = None) -> None:
        route = await self.route()
        self.reports.failed(route, await self.backend(url), error or UpstreamUnreachable())

    async def backend(self, url: str) -> Backend:
        return next(b for b in (await self.route()).frontend.backends if b.url == url)

    async def marks(self) -> dict[str, int]:
        return {url: mark.failures for url, mark in (await self.route()).marks.items()}


@asynccontextmanager
async def worker(url: str, name: str = "proxy", **server: object) -> AsyncIterator[Worker]:
    server = {"snapshot": None, "store_timeout": 10.0} | server  # a busy machine is no outage
    config = Config(driver=(url,), server=ServerConfig(**server))  # type: ignore[arg-type]
    store, checkers = open_store(config), Checkers()
    balancer = Balancer(Options(), random=Random(3).random, clock=lambda: time.time() + made.ahead)
    reports = HealthReports(
        store,
        balancer,
        config.server,
        name=name,
        clock=lambda: time.time() + made.ahead,
        checkers=checkers,
    )
    made = Worker(store, balancer, reports, checkers)
    await store.start()
    try:
        yield made
    finally:
        await store.aclose()


@pytest.fixture
async def redis(valkey: RedisServer) -> AsyncIterator[object]:
    async with valkey.client as client:
        await client.rpush(f"frontend:{HOST}", "id", A, B)
        yield client


@pytest.fixture
async def one(valkey: RedisServer, redis: object) -> AsyncIterator[Worker]:
    async with worker(valkey.url, "one") as made:
        yield made


@pytest.fixture
async def two(valkey: RedisServer, redis: object) -> AsyncIterator[Worker]:
    async with worker(valkey.url, "two") as made:
        await made.route()
        yield made


async def test_a_refusal_seen_by_one_worker_spares_the_other(one, two, caplog):
    await one.kill(A)
    assert {await one.attempt() for _ in range(20)} == {B}
    await until(lambda: (r := two.store.known(HOST)) and A in r.marks)
    assert {await two.attempt() for _ in range(20)} == {B}
    assert [r.getMessage() for r in caplog.records] == [
        f"backend dead frontend={HOST} backend={A} cause=cannot connect to the backend ttl=30s"
    ]


async def test_a_hundred_failures_at_once_make_one_mark(one, redis, caplog):
    async with redis.pubsub() as channel:
        await channel.subscribe("dead")
        await channel.get_message(timeout=10)
        route, backend = await one.route(), await one.backend(A)
        for _ in range(100):
            one.reports.failed(route, backend, UpstreamUnreachable())
        await until(lambda: not one.store._local.of(HOST))
        assert (await channel.get_message(timeout=10))["data"] == f"{HOST};{A};0;2"
        assert await channel.get_message(timeout=0.05) is None
    assert len(caplog.records) == 1


async def test_a_trial_that_succeeds_clears_the_history_everywhere(one, two, redis):
    await one.kill(A)
    await until(lambda: (r := two.store.known(HOST)) and A in r.marks)
    two.ahead = 31
    assert await two.attempt() == A
    assert await two.marks() == {}
    await until(lambda: (r := one.store.known(HOST)) and not r.marks)
    assert await redis.exists(f"dead-info:{HOST}") == 0
    assert {await one.attempt() for _ in range(50)} == {A, B}


async def test_a_trial_that_fails_doubles_the_time(one, caplog):
    for failures, ttl in enumerate([30, 60, 120, 240, 300, 300], 1):
        tried = await one.attempt(UpstreamUnreachable()) if failures > 1 else await one.kill(A)
        assert tried in (A, None)
        assert await one.marks() == {A: failures}
        assert f"ttl={ttl}s" in caplog.messages[-1]
        assert await one.attempt() == B
        one.ahead += ttl + 1


async def test_an_answer_from_before_the_mark_does_not_clear_it(one):
    route, backend = await one.route(), await one.backend(A)
    await one.kill(A)
    one.reports.answered(route, backend, 200, [])
    one.reports.answered(await one.route(), backend, 200, [])
    assert await one.marks() == {A: 1}


async def test_in_panic_a_success_brings_a_backend_back_before_its_time(one):
    await one.kill(A)
    await one.kill(B)
    assert await one.attempt() == A
    assert await one.marks() == {B: 1}


async def test_panic_that_fails_writes_no_further_marks(one, caplog):
    await one.kill(A)
    await one.kill(B)
    for _ in range(10):
        await one.attempt(UpstreamUnreachable())
    assert await one.marks() == {A: 1, B: 1}
    assert len(caplog.records) == 2


async def test_a_single_backend_is_never_marked(one, redis):
    await redis.lrem(f"frontend:{HOST}", 1, B)
    await until(lambda: one.store.known(HOST) is None)
    await one.kill(A)
    assert await one.marks() == {}


async def test_what_only_counts_kills_in_a_row(one):
    for _ in range(STRIKES - 1):
        await one.kill(A, UpstreamReset())
    one.reports.answered(await one.route(), await one.backend(A), 200, [])
    for _ in range(STRIKES - 1):
        await one.kill(A, UpstreamReset())
    assert await one.marks() == {}
    await one.kill(A, UpstreamReset())
    assert await one.marks() == {A: 1}


async def test_a_busy_backend_and_a_client_that_left_blame_nobody(one):
    for _ in range(STRIKES):
        await one.kill(A, UpstreamBusy())
        one.reports.failed(await one.route(), await one.backend(A), ConnectionResetError())
    assert await one.marks() == {}


@pytest.mark.parametrize(
    ("status", "headers", "dead"),
    [
        (502, [], True),
        (503, [], True),
        (503, [(b"retry-after", b"60")], False),
        (500, [], False),
        (404, [], False),
    ],
)
async def test_which_answers_mark(one, status, headers, dead):
    one.reports.answered(await one.route(), await one.backend(A), status, headers)
    assert (await one.marks() == {A: 1}) is dead


async def test_500_marks_at_once_where_a_checker_can_correct_it(one):
    one.checkers.ours = True
    one.reports.answered(await one.route(), await one.backend(A), 500, [])
    assert await one.marks() == {A: 1}


async def test_beside_a_foreign_checker_we_announce_and_it_decides(one, redis, caplog):
    one.checkers.foreign = True
    async with redis.pubsub() as channel:
        await channel.subscribe("dead")
        await channel.get_message(timeout=10)
        await one.kill(A)
        assert (await channel.get_message(timeout=10))["data"] == f"{HOST};{A};0;2"
    assert await one.marks() == {}
    assert await redis.keys("dead*") == []
    assert "mark=left to the active checker" in caplog.text


async def test_a_foreign_checkers_mark_is_not_cleared_by_panic(one, redis):
    one.checkers.foreign = True
    await one.route()
    await redis.sadd(f"dead:{HOST}", 0, 1)
    await until(lambda: (r := one.store.known(HOST)) and len(r.marks) == 2)
    await one.attempt()
    assert set(await one.marks()) == {A, B}


async def test_the_mark_follows_its_url_when_the_list_is_edited(one, redis):
    await one.kill(B)
    await until(lambda: not one.store._local.of(HOST))
    async with redis.pipeline(transaction=True) as edit:
        await (
            edit.delete(f"frontend:{HOST}")
            .rpush(f"frontend:{HOST}", "id", "http://new:80", B, A)
            .execute()
        )
    await until(lambda: one.store.known(HOST) is None)
    assert {await one.attempt() for _ in range(50)} == {"http://new:80", A}
    assert await one.marks() == {B: 1}


async def test_no_marks_where_they_are_switched_off(valkey, redis):
    async with worker(valkey.url, dead_backend_ttl=0) as made:
        await made.kill(A)
        assert await made.marks() == {}


async def test_a_timeout_marks_before_the_head_and_counts_inside_the_body(one):
    route, backend = await one.route(), await one.backend(A)
    one.reports.failed(route, backend, UpstreamTimeout(), answer_started=True)
    assert await one.marks() == {}
    one.reports.failed(route, backend, UpstreamTimeout())
    assert await one.marks() == {A: 1}


async def test_without_panic_all_dead_is_an_error(one, caplog):
    one.balancer._defaults = Options(panic=False)
    await one.kill(A)
    await one.kill(B)
    with pytest.raises(NoLiveBackend):
        await one.attempt()
    assert caplog.records[0].levelno == logging.WARNING
