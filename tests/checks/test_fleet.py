"""Active checks of real backends, with the marks, the pings and the lease in a real store."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from math import inf

import pytest

from app.checks import fleet as checks
from app.checks.fleet import checking
from app.checks.rounds import Rounds
from app.checks.shards import SHARDS, Shards, shard_of
from app.config.structs import Config, HealthCheck, ServerConfig
from app.proxy.health_reports import Checkers
from app.routing import parse_frontend
from app.stores import CachedStore, open_store
from app.stores.base import Checked, ShardLeases
from app.stores.redis.check_leases import LEASES
from app.upstream.destinations import Bound
from tests import resolver
from tests.backends import (
    Conversation,
    ScriptedBackend,
    answer,
    answering,
    refusing,
    scripted,
    silent,
)
from tests.redis_servers import RedisServer, until
from tests.upstream.http2.backend import Asked, speaking_http2

HOST = "www.example.com"
QUICK = HealthCheck(path="/up", interval=0.1, timeout=1, rise=2, fall=3)


@pytest.fixture
def impatient(monkeypatch):
    """For tests of something else than how fast the lease moves."""
    monkeypatch.setattr(checks, "BEAT", 0.05)


@asynccontextmanager
async def checker(
    url: str,
    health_check: HealthCheck | None = QUICK,
    name: str = "checker:1",
    listening: Callable[[], list[Bound]] = list,
    **server: object,
) -> AsyncIterator[tuple[CachedStore, Checkers]]:
    """A worker that may become the fleet's checker."""
    config = Config(
        driver=(url,),
        health_check=health_check,
        server=ServerConfig(**({"snapshot": None, "store_timeout": 10.0} | server)),  # type: ignore[arg-type]
    )
    store = open_store(config)
    await store.start()
    try:
        async with checking(config, store, name=name, listening=listening) as checkers:
            yield store, checkers
    finally:
        await store.aclose()


@pytest.fixture
async def redis(valkey: RedisServer) -> AsyncIterator[object]:
    async with valkey.client as client:
        yield client


@asynccontextmanager
async def moody() -> AsyncIterator[tuple[ScriptedBackend, list[bytes]]]:
    """A backend, and the list whose last element is what it answers."""
    answers = [answer(b"WORKING")]

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answers[-1])

    async with scripted(script) as backend:
        yield backend, answers


async def holds(question) -> None:
    """Wait until an awaitable question about Redis is answered with yes."""
    async with asyncio.timeout(10):
        while not await question():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_backend_that_fails_its_checks_is_marked_until_it_is_well(valkey, redis, caplog):
    caplog.set_level("INFO")
    async with moody() as (backend, answers), answering(answer()) as other:
        await redis.rpush(f"frontend:{HOST}", "id", other.url, backend.url)
        async with checker(valkey.url):
            await backend.until(lambda b: len(b.requests) >= 5)
            assert await redis.keys("dead*") == []
            answers.append(answer(status=b"500 Oops"))
            await holds(lambda: redis.exists(f"dead:{HOST}"))
            assert await redis.smembers(f"dead:{HOST}") == {"1"}
            entry = json.loads(await redis.hget(f"dead-info:{HOST}", backend.url))
            assert (entry["by"], entry["reason"]) == ("checker:1", "check: status 500")
            answers.append(answer(b"fine"))
            await holds(lambda: _unmarked(redis))
    lines = [m.split(" cause=")[0].split(" after=")[0] for m in caplog.messages if "backend " in m]
    assert lines == [
        f"backend dead frontend={HOST} backend={backend.url}",
        f"backend alive frontend={HOST} backend={backend.url}",
    ]


async def _unmarked(redis) -> bool:
    return not await redis.exists(f"dead:{HOST}", f"dead-info:{HOST}")


async def test_the_proxy_does_not_check_itself(valkey, redis):
    async with answering(answer()) as us, answering(answer()) as other:
        await redis.rpush(f"frontend:{HOST}", "id", us.url, other.url)
        ours: list[Bound] = [(socket.AF_INET, ("127.0.0.1", us.port))]
        async with checker(valkey.url, listening=lambda: ours):
            await holds(lambda: redis.exists(f"dead:{HOST}"))
            entry = json.loads(await redis.hget(f"dead-info:{HOST}", us.url))
    assert entry["reason"] == "check: the backend is this proxy itself"
    assert us.accepted == 0


async def test_the_question_is_as_tsuru_wrote_it(valkey, redis):
    async with moody() as (backend, answers), answering(answer(b"WORKING")) as other:
        await redis.rpush(f"frontend:{HOST}", "id", other.url, backend.url)
        await redis.hset(
            f"healthcheck:{HOST}", mapping={"path": "/hc?x=1", "status": "200", "body": "WORK"}
        )
        async with checker(valkey.url, HealthCheck(interval=0.1)):
            await backend.until(lambda b: len(b.requests) >= 3)
            answers.append(answer(b"broken"))
            await holds(lambda: redis.exists(f"dead:{HOST}"))
    request = backend.requests[0]
    assert request.line == (b"GET", b"/hc?x=1")
    assert request.get(b"host") == HOST.encode()
    assert request.get(b"user-agent") == b"hipache-health-check"


async def test_the_backends_of_a_prefix_are_asked_for_its_host_and_marked_by_its_key(valkey, redis):
    async with answering(answer(status=b"500 Oops")) as ill, answering(answer()) as other:
        await redis.rpush(f"frontend:{HOST}/api", "id", other.url, ill.url)
        await redis.sadd(f"paths:{HOST}", "/api")
        await redis.hset(f"healthcheck:{HOST}/api", "path", "/up")
        async with checker(valkey.url, HealthCheck(interval=0.1)):
            await holds(lambda: redis.exists(f"dead:{HOST}/api"))
    request = ill.requests[0]
    assert request.line == (b"GET", b"/up")
    assert request.get(b"host") == HOST.encode()


async def test_without_a_path_only_what_has_a_hash_is_checked(valkey, redis):
    async with answering(answer()) as one, answering(answer()) as two, refusing() as dead:
        await redis.rpush("frontend:with.test", "id", one.url, dead)
        await redis.rpush("frontend:without.test", "id", two.url, dead)
        await redis.hset("healthcheck:with.test", "path", "/")
        async with checker(valkey.url, HealthCheck(interval=0.1)):
            await holds(lambda: redis.exists("dead:with.test"))
    assert not two.requests
    assert not await redis.exists("dead:without.test")


async def test_nothing_is_asked_where_nothing_is_configured(valkey, redis):
    async with answering(answer()) as one, answering(answer()) as two:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
        await redis.hset(f"healthcheck:{HOST}", "path", "/")
        async with checker(valkey.url, None):
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert "checkers' pings" in names
            assert "active checks" not in names


@pytest.mark.parametrize("quiet", [False, True], ids=["not now", "nothing"])
async def test_our_resolver_is_nobodys_illness(valkey, redis, monkeypatch, quiet):
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(resolver.silent(monkeypatch))
        else:
            resolver.failing(monkeypatch, socket.EAI_AGAIN)
        await _checked_beside_a_name(valkey, redis)


async def _checked_beside_a_name(valkey, redis):
    async with answering(answer()) as well, refusing() as dead:
        await redis.rpush(f"frontend:{HOST}", "id", well.url, dead, "http://named.test")
        quick = HealthCheck(path="/up", interval=0.1, timeout=0.2, fall=2)
        async with checker(valkey.url, quick):
            # Each round checks all three.
            await well.until(lambda b: len(b.requests) > 2 * quick.fall + 1)
            await holds(lambda: redis.exists(f"dead-info:{HOST}"))
            assert await redis.hkeys(f"dead-info:{HOST}") == [dead]


async def test_a_backend_that_does_not_answer_its_check_is_ill(valkey, redis):
    async with answering(answer()) as well, silent() as quiet:
        await redis.rpush(f"frontend:{HOST}", "id", well.url, quiet.url)
        async with checker(valkey.url, HealthCheck(path="/", interval=0.1, timeout=0.1)):
            await holds(lambda: redis.exists(f"dead-info:{HOST}"))
            entry = json.loads(await redis.hget(f"dead-info:{HOST}", quiet.url))
            assert entry["reason"] == "check: no answer in 0.1 s"


async def test_head_is_asked_for_where_it_is_wanted(valkey, redis):
    head = answer(b"x" * 10)[:-10]  # which announces a body that never comes
    async with answering(head) as well, refusing() as dead:
        await redis.rpush(f"frontend:{HOST}", "id", well.url, dead)
        async with checker(valkey.url, HealthCheck(path="/", method="HEAD", interval=0.1)):
            await well.until(lambda b: len(b.requests) >= 5)
            await holds(lambda: redis.exists(f"dead-info:{HOST}"))
            assert await redis.hkeys(f"dead-info:{HOST}") == [dead]
    assert {request.line for request in well.requests} == {(b"HEAD", b"/")}


def test_the_checks_of_many_are_spread_over_the_interval():
    urls = [f"http://127.0.0.1:{n}" for n in range(1, 1001)]
    config = HealthCheck(path="/", interval=1000)
    shards = Shards()
    shards.renew(ShardLeases(0.0, dict.fromkeys(range(SHARDS), 0.0)), inf)
    rounds = Rounds(config, None, None, None, shards)
    rounds._update_targets([Checked(parse_frontend(HOST, ["id", *urls]), {})])
    now = time.monotonic()
    tenths = Counter(int((due - now) // 100) for due, *_ in rounds._due)
    assert set(tenths) <= set(range(-1, 10))
    assert max(tenths.values()) < 200


async def test_a_mark_of_somebody_else_is_cleared_when_the_checks_are_good(valkey, redis):
    async with answering(answer()) as one, answering(answer()) as two:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
        await redis.sadd(f"dead:{HOST}", 0)
        async with checker(valkey.url):
            await holds(lambda: _unmarked(redis))


async def test_a_single_backend_is_left_alone(valkey, redis):
    async with answering(answer()) as other, refusing() as dead:
        await redis.rpush("frontend:single.test", "id", dead)
        await redis.rpush(f"frontend:{HOST}", "id", other.url, dead)
        async with checker(valkey.url):
            await holds(lambda: redis.exists(f"dead:{HOST}"))
    assert not await redis.exists("dead:single.test")


async def test_an_edit_of_the_list_never_marks_the_wrong_one(valkey, redis):
    """The checker's list may be old; what it writes is not."""
    async with moody() as (backend, answers), answering(answer()) as other:
        await redis.rpush(f"frontend:{HOST}", "id", backend.url, other.url)
        async with checker(valkey.url):
            await backend.until(lambda b: len(b.requests) >= 3)
            async with redis.pipeline(transaction=True) as edit:
                edit.delete(f"frontend:{HOST}")
                edit.rpush(f"frontend:{HOST}", "id", "http://new:1", other.url, backend.url)
                await edit.execute()
            answers.append(answer(status=b"502 Bad"))
            await holds(lambda: redis.exists(f"dead:{HOST}"))
            assert await redis.smembers(f"dead:{HOST}") == {"2"}


async def test_no_more_than_a_hundred_checks_run_at_once(valkey, redis):
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.gone()

    async with scripted(script) as slow:
        urls = [f"{slow.url}/{n}" for n in range(300)]  # the path is ignored: one place, 300 names
        await redis.rpush(f"frontend:{HOST}", "id", *urls)
        quick = HealthCheck(path="/up", interval=0.2, timeout=0.8)
        async with checker(valkey.url, quick, max_sockets=1000):
            await slow.until(lambda b: b.accepted >= 300)
    assert slow.most_open == 100


# The pings


async def test_our_ping_makes_old_hipaches_stand_back_but_not_us(valkey, redis):
    async with answering(answer()) as one, answering(answer()) as two:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
        async with checker(valkey.url):
            await holds(lambda: redis.exists("hchecker_ping"))
            assert abs(int(await redis.get("hchecker_ping")) - time.time()) < 5
            async with checker(valkey.url, name="checker:2") as (_, checkers):
                await until(lambda: checkers.ours)
                assert not checkers.foreign


async def test_a_worker_knows_of_a_foreign_checker_before_it_serves(valkey, redis):
    await redis.set("hchecker_ping", int(time.time()))
    async with checker(valkey.url, None) as (_, checkers):
        assert checkers.foreign


async def test_a_foreign_checkers_ping_is_heard_and_never_overwritten(valkey, redis):
    foreign = int(time.time()) - 3
    await redis.set("hchecker_ping", foreign)
    async with answering(answer()) as one, answering(answer()) as two:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
        async with checker(valkey.url) as (_, checkers):
            await one.until(lambda b: len(b.requests) >= 2)
            assert checkers.foreign
            assert await redis.get("hchecker_ping") == str(foreign)


@pytest.mark.parametrize("value", ["", "soon", "-5", "1000000000"])
async def test_a_ping_that_is_old_or_none_is_no_checker(valkey, redis, value):
    await redis.set("hchecker_ping", value)
    async with checker(valkey.url, None) as (store, checkers):
        assert not (await store.store.checks.pings()).foreign
        assert not checkers.foreign


# The leases


async def has(redis, name: str, key: str = HOST) -> bool:
    """Whether the checks of this frontend are that worker's."""
    return f" {name}:" in str(await redis.hget(LEASES, shard_of(key)))


async def held(redis, name: str) -> int:
    """How many shards a worker has."""
    return sum(f" {name}:" in value for value in await redis.hvals(LEASES))


async def test_workers_divide_the_frontends_and_one_takes_all_when_the_other_ends(
    valkey, redis, impatient
):
    hosts = [f"{n}.test" for n in range(20)]
    asked: set[bytes] = set()

    async def script(conversation: Conversation) -> None:
        asked.add((await conversation.receive()).get(b"host"))
        await conversation.send(answer())

    async with scripted(script) as one, answering(answer()) as two:
        for host in hosts:
            await redis.rpush(f"frontend:{host}", "id", one.url, two.url)
        async with checker(valkey.url, name="checker:1"):
            async with checker(valkey.url, name="checker:2"):
                await holds(lambda: _equal(redis, "checker:1", "checker:2"))
                parts = [{h for h in hosts if await has(redis, f"checker:{n}", h)} for n in (1, 2)]
                assert all(parts)
                assert parts[0] ^ parts[1] == set(hosts)
                asked.clear()
                await until(lambda: len(asked) == len(hosts))
            await holds(lambda: _equal(redis, "checker:1"))
            asked.clear()
            await until(lambda: len(asked) == len(hosts))


async def _equal(redis, *names: str) -> bool:
    return [await held(redis, name) for name in names] == [SHARDS // len(names)] * len(names)


async def test_the_shards_of_a_dead_holder_move_within_five_seconds(valkey, redis):
    ends = int((time.time() + checks.LEASE_LASTS) * 1000)
    await redis.hset(LEASES, mapping={str(n): f"{ends} killed" for n in range(SHARDS)})
    async with answering(answer()) as one, answering(answer()) as two:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
        started = time.monotonic()
        async with checker(valkey.url):
            await one.until(lambda b: b.requests)
        assert 1.5 < time.monotonic() - started < 5


async def test_who_lost_its_shards_stops_asking(valkey, redis, caplog, impatient):
    caplog.set_level("INFO")
    async with answering(answer()) as one, answering(answer()) as two:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
        async with checker(valkey.url):
            await one.until(lambda b: b.requests)
            ends = int((time.time() + 60) * 1000)
            await redis.hset(LEASES, mapping={str(n): f"{ends} another" for n in range(SHARDS)})
            await until(lambda: "active checks end name=checker:1" in caplog.messages)
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert not [name for name in names if name.startswith(("rounds", "checks:", "check "))]
    assert set(map(str, range(SHARDS))) <= set(await redis.hgetall(LEASES))
    assert {v.partition(" ")[2] for v in await redis.hvals(LEASES)} == {"another"}


async def test_a_new_holder_keeps_the_mark_that_the_last_one_gave(valkey, redis, impatient):
    """It has not seen the backend fail so often, but the mark must not lapse meanwhile."""
    patient = HealthCheck(path="/up", interval=0.1, timeout=1, fall=1000)
    async with answering(answer()) as one, refusing() as dead:
        await redis.rpush(f"frontend:{HOST}", "id", one.url, dead)
        async with checker(valkey.url, name="checker:1", dead_backend_ttl=2):
            await holds(lambda: redis.hexists(f"dead-info:{HOST}", dead))
        async with checker(valkey.url, patient, name="checker:2", dead_backend_ttl=2):
            await holds(lambda: _marked_by(redis, dead, "checker:2"))


async def _marked_by(redis, url: str, name: str) -> bool:
    return json.loads(await redis.hget(f"dead-info:{HOST}", url))["by"] == name


async def test_checks_that_fail_for_ever_say_no_more_than_that(valkey, redis, caplog, impatient):
    """The lease can be had, but the frontends to check cannot be read."""
    caplog.set_level("INFO")
    await redis.acl_setuser(
        "blind", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"],
        commands=["+@all", "-scan"],
    )  # fmt: skip
    url = valkey.url.replace("redis://", "redis://blind:pw@")
    interrupted = "active checks interrupted"
    async with checker(url):
        await until(lambda: sum(m.startswith(interrupted) for m in caplog.messages) > 3)
    said = [m for m in caplog.messages if m.startswith("active checks")]
    assert said[0] == "active checks begin name=checker:1"
    assert set(said[1:]) == {said[1]}  # a warning, so it is a line a minute
    assert {r.levelname for r in caplog.records if r.getMessage() == said[1]} == {"WARNING"}


async def test_checks_go_on_when_the_store_comes_back(tmp_path, caplog, impatient):
    caplog.set_level("INFO")
    server = await RedisServer(tmp_path).start()
    try:
        async with answering(answer()) as one, answering(answer()) as two:
            async with server.client as redis:
                await redis.rpush(f"frontend:{HOST}", "id", one.url, two.url)
            async with checker(server.url, store_timeout=0.3):
                await one.until(lambda b: b.requests)
                server.pause()
                await until(lambda: "active checks end name=checker:1" in caplog.messages)
                server.resume()
                seen = len(one.requests)
                await one.until(lambda b: len(b.requests) > seen + 5)
    finally:
        server.kill()


async def test_with_a_file_every_worker_checks_for_itself(tmp_path):
    async with answering(answer()) as one, refusing() as dead:
        table = tmp_path / "routes.toml"
        table.write_text(f'["{HOST}"]\nid = "x"\nbackends = ["{one.url}", "{dead}"]\n')
        async with checker(f"file:{table}") as (store, _):
            route = await store.find(HOST)
            await until(lambda: dead in store.marks_of(route.frontend), seconds=10)


async def test_a_file_says_which_of_its_frontends_are_checked_and_how(tmp_path):
    async with answering(answer()) as one, answering(answer()) as two, answering(answer()) as three:
        table = tmp_path / "routes.toml"
        table.write_text(
            f'["with.test"]\nbackends = ["{one.url}", "{two.url}"]\n'
            'healthcheck = { path = "/health", status = 204 }\n'
            f'["without.test"]\nbackends = ["{three.url}", "{one.url}"]\n'
        )
        async with checker(f"file:{table}", HealthCheck(interval=0.1)) as (store, _):
            frontend = (await store.find("with.test")).frontend
            await until(lambda: len(store.marks_of(frontend)) == 2, seconds=10)
    assert {request.line for request in one.requests} == {(b"GET", b"/health")}
    assert not three.requests


async def test_services_of_grpc_are_asked_for_their_health(valkey, redis):
    def say(state: bytes) -> Callable[[Asked], None]:
        def answer(asked: Asked) -> None:
            asked.head((b"content-type", b"application/grpc"))
            asked.body_part(b"\0\0\0\0\2\x08" + state)
            asked.end((b"grpc-status", b"0"))

        return answer

    async with speaking_http2() as sick, speaking_http2() as well, answering(answer()) as other:
        sick.on_end, well.on_end = say(b"\2"), say(b"\1")
        await redis.rpush(f"frontend:{HOST}", "id", well.url, sick.url, other.url)
        await redis.hset(f"healthcheck:{HOST}", "grpc", "a.B")
        async with checker(valkey.url):
            await holds(lambda: redis.exists(f"dead:{HOST}"))
            assert await redis.smembers(f"dead:{HOST}") == {"1"}
            entry = json.loads(await redis.hget(f"dead-info:{HOST}", sick.url))
            assert entry["reason"] == "check: health NOT_SERVING"
            await other.until(lambda backend: backend.requests)  # by its path
            sick.on_end = well.on_end
            await holds(lambda: _unmarked(redis))
    [asked, *_] = well.requests
    assert asked.get(b":path") == b"/grpc.health.v1.Health/Check"
    assert (asked.get(b"te"), asked.body) == (b"trailers", b"\0\0\0\0\5\n\x03a.B")


async def test_backends_with_h2c_are_checked_over_it(valkey, redis, tmp_path):
    async with (
        speaking_http2() as well,
        speaking_http2() as sick,
        speaking_http2(path=tmp_path / "socket") as sick_too,
    ):
        well.on_end = lambda asked: asked.head(end=True)
        sick.on_end = sick_too.on_end = lambda asked: asked.head(status=500, end=True)
        await redis.rpush(f"frontend:{HOST}", "id", well.url, sick.url, sick_too.url)
        async with checker(valkey.url):
            for index, backend in ((1, sick), (2, sick_too)):
                await holds(lambda index=index: redis.sismember(f"dead:{HOST}", str(index)))
                entry = json.loads(await redis.hget(f"dead-info:{HOST}", backend.url))
                assert entry["reason"] == "check: status 500"
            assert await redis.smembers(f"dead:{HOST}") == {"1", "2"}
            sick.on_end = sick_too.on_end = well.on_end
            await holds(lambda: _unmarked(redis))
    [asked, *_] = sick_too.requests
    assert (asked.get(b":method"), asked.get(b":path")) == (b"GET", b"/up")


async def test_checks_offer_http2_as_requests_do(valkey, redis):
    """A server of gRPC refuses a handshake that offers nothing but HTTP/1.1."""
    await redis.hset(f"options:{HOST}", "http2", "on")
    for key in (HOST, f"{HOST}/api"):
        await redis.rpush(f"frontend:{key}", "id", "https://127.0.0.1:1", "http://127.0.0.1:1")
    await redis.rpush("frontend:plain.test", "id", "https://127.0.0.1:1")
    store = open_store(Config(driver=(valkey.url,), server=ServerConfig(snapshot=None)))
    await store.start()
    try:
        assert store.checks is not None
        listed = await store.checks.listed(lambda key: True, every=True)
    finally:
        await store.aclose()
    found = {each.frontend.key: [b.scheme for b in each.frontend.backends] for each in listed}
    assert found == {
        HOST: ["h2", "http"], f"{HOST}/api": ["h2", "http"], "plain.test": ["https"],
    }  # fmt: skip
