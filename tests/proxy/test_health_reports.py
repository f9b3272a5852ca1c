"""From outcomes to marks: two workers, their balancers and one real store, a clock of our own."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest

from app.balancing.balancer import Balancer, RequestFacts
from app.balancing.evidence import FEWEST
from app.config.structs import Config, ServerConfig
from app.errors import (
    NoLiveBackend,
    SlowClient,
    UpstreamBusy,
    UpstreamCut,
    UpstreamError,
    UpstreamReset,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.frontends.options import Options
from app.proxy.attempt import Attempt
from app.proxy.health_reports import Checkers, HealthReports
from app.proxy.request import Request
from app.routing import Backend, Route
from app.server.peer import Peer
from app.stores import CachedStore, open_store
from app.stores.mark_news import MarkNews
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
            self.reports.failed(asked(route, backend), error)
        else:
            self.reports.answered(asked(route, backend), status, [])
        self.balancer.finished(route, backend)
        return backend.url

    async def kill(self, url: str) -> None:
        self.reports.failed(await self.asked(url), UpstreamUnreachable())

    async def asked(self, url: str, target: bytes = b"/", client: str = "192.0.2.1") -> Attempt:
        return asked(await self.route(), await self.backend(url), target, client)

    async def sicken(
        self, url: str, outcome: UpstreamError | int, others: tuple[str, ...] = (), times: int = 10
    ) -> None:
        """Several clients ask for several pages, all of which fail at `url`; not at `others`."""
        for number in range(times):
            page, client = b"/%d" % (number % 3), f"192.0.2.{number % 4}"
            for other in others:
                self.reports.answered(await self.asked(other, page, client), 200, [])
            attempt = await self.asked(url, page, client)
            if isinstance(outcome, int):
                self.reports.answered(attempt, outcome, [])
            else:
                self.reports.failed(attempt, outcome, answer_started=outcome.answer_begun)
            self.ahead += 0.01

    async def backend(self, url: str) -> Backend:
        return next(b for b in (await self.route()).frontend.backends if b.url == url)

    async def marks(self) -> dict[str, int]:
        return {url: mark.failures for url, mark in (await self.route()).marks.items()}


def asked(
    route: Route, backend: Backend, target: bytes = b"/", client: str = "192.0.2.1"
) -> Attempt:
    """An attempt at `backend` for a GET of `client`."""
    peer = Peer((client, 1024), None, client)
    return Attempt(Request(b"GET", target, [], peer, "1.1", None), route, backend)


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
        true_client=lambda fields, peer: peer,
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
        for _ in range(100):
            one.reports.failed(await one.asked(A), UpstreamUnreachable())
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
    before = await one.asked(A)
    await one.kill(A)
    one.reports.answered(before, 200, [])
    one.reports.answered(await one.asked(A), 200, [])
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


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        pytest.param(500, "status 500", id="500"),
        pytest.param(502, "status 502", id="502"),
        pytest.param(UpstreamReset(), "closed the connection without an answer", id="reset"),
        pytest.param(UpstreamTimeout(), "did not answer in time", id="no head in time"),
        pytest.param(UpstreamCut(), "cut short", id="a body that breaks off"),
    ],
)
async def test_a_sick_backend_is_marked_on_evidence_that_the_log_names(one, caplog, outcome, says):
    await one.sicken(A, outcome, others=(B,))
    assert await one.marks() == {A: 1}
    mark = (await one.route()).marks[A]
    assert mark.evidence
    assert mark.reason.startswith("9 of 9 requests failed in 0.1 s (3 different, 4 clients), ")
    assert "of other backends' 0 of 8, the last: " in mark.reason
    assert says in mark.reason
    assert caplog.messages == [
        f"backend dead frontend={HOST} backend={A} cause={mark.reason} ttl=30s"
    ]


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(501, id="a method that it does not know"),
        pytest.param(505, id="a version that it does not know"),
        pytest.param(UpstreamBusy(), id="all connections busy"),
        pytest.param(SlowClient(), id="a client that took nothing while others waited"),
        pytest.param(UpstreamTimeout(answer_begun=True), id="silence after the head"),
    ],
)
async def test_what_says_nothing_about_a_backend_never_marks_it(one, outcome):
    await one.sicken(A, outcome, others=(B,), times=100)
    assert await one.marks() == {}


async def test_a_client_that_left_blames_nobody(one):
    for number in range(100):
        attempt = await one.asked(A, b"/%d" % number, f"192.0.2.{number % 9}")
        one.reports.failed(attempt, ConnectionResetError())
        one.reports.answered(await one.asked(B, b"/%d" % number), 200, [])
    assert await one.marks() == {}


@pytest.mark.parametrize(
    ("status", "headers", "marks"),
    [(503, [], {A: 1}), (503, [(b"retry-after", b"60")], {}), (404, [], {})],
)
async def test_announced_maintenance_and_a_clients_mistakes_are_no_evidence(
    one, status, headers, marks
):
    for number in range(20):
        target, client = b"/%d" % (number % 3), f"192.0.2.{number % 4}"
        one.reports.answered(await one.asked(B, target, client), 200, [])
        one.reports.answered(await one.asked(A, target, client), status, headers)
        one.ahead += 0.01
    assert await one.marks() == marks


async def test_a_500_is_no_evidence_where_that_is_switched_off(valkey, redis):
    async with worker(valkey.url, dead_backend_on500=False) as made:
        await made.sicken(A, 500, others=(B,), times=50)
        assert await made.marks() == {}


async def test_an_active_checker_does_not_make_a_single_500_a_mark(one):
    one.checkers.ours = True
    await one.sicken(A, 500, others=(B,), times=FEWEST - 1)
    assert await one.marks() == {}


async def test_a_visitor_whose_requests_fail_everywhere_takes_nothing_away(one):
    for number in range(100):
        for url in (A, B):
            one.reports.failed(await one.asked(url, b"/%d" % number), UpstreamTimeout())
        one.ahead += 0.1
    assert await one.marks() == {}


async def test_half_of_the_backends_stay_and_the_log_says_why(one, redis, caplog):
    await redis.rpush(f"frontend:{HOST}", "http://10.0.0.3:80")
    await until(lambda: one.store.known(HOST) is None)
    await one.sicken(A, 502, others=("http://10.0.0.3:80",))
    await one.sicken(B, 502, others=("http://10.0.0.3:80",))
    assert await one.marks() == {A: 1}
    assert "mark=none, half are out" in caplog.messages[-1]
    await one.kill(B)
    assert await one.marks() == {A: 1, B: 1}


async def test_a_trial_that_fails_for_its_request_alone_is_repeated_not_punished(one):
    await one.sicken(A, 502, others=(B,))
    one.ahead += 31
    assert await one.attempt(status=502) == A
    assert await one.marks() == {A: 1}
    await one.sicken(A, 502, others=(B,))
    assert await one.marks() == {A: 2}


async def test_other_workers_see_that_a_mark_was_set_on_evidence(one, two):
    await one.sicken(A, 502, others=(B,))
    await until(lambda: (r := two.store.known(HOST)) and A in r.marks)
    assert (await two.route()).marks[A].evidence


async def test_the_only_backend_is_no_mark_but_news_where_it_takes_no_connection(one, redis):
    await redis.rpush("frontend:only.test", "id", A)
    route = await one.store.find("only.test")
    attempt, news = asked(route, route.frontend.backends[0]), []
    one.reports._news = MarkNews(
        dead=lambda *what: news.append("marked"), only_failed=lambda _, it: news.append(it.url)
    )
    for _ in range(10):
        one.reports.failed(attempt, UpstreamReset())
        one.reports.answered(attempt, 500, [])
    assert not news
    one.reports.failed(attempt, UpstreamUnreachable())
    assert news == [A]
    one.checkers.foreign = True  # it would not mark either
    one.reports.failed(attempt, UpstreamUnreachable())
    assert news == [A]
    assert not one.store.marks_of(route.frontend)


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


async def test_beside_a_foreign_checker_evidence_is_announced_once_it_is_enough(one, redis):
    one.checkers.foreign = True
    async with redis.pubsub() as channel:
        await channel.subscribe("dead")
        await channel.get_message(timeout=10)
        await one.sicken(A, 502, others=(B,))
        assert (await channel.get_message(timeout=10))["data"] == f"{HOST};{A};0;2"
    assert await one.marks() == {}


async def test_without_panic_all_dead_is_an_error(one, caplog):
    one.balancer._defaults = Options(panic=False)
    await one.kill(A)
    await one.kill(B)
    with pytest.raises(NoLiveBackend):
        await one.attempt()
    assert caplog.records[0].levelno == logging.WARNING
