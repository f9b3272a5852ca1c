"""Which requests are kept, whichever way they go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.recorder.rings import stories
from app.recorder.stories import Kind, Story
from app.system import shared_folder
from app.system.shared_folder import service_folders
from tests.backends import Conversation, answer, answering, refusing, scripted, silent, truncating
from tests.redis_servers import RedisServer, until
from tests.serving import proxying

pytestmark = pytest.mark.usefixtures("either_way")

NONE_FOR_BEING_GOOD = {"slowRequest": 0}


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that no other proxy of this machine uses."""
    monkeypatch.setattr(shared_folder, "memory_folder", lambda: tmp_path)
    return tmp_path


def kept(*kinds: Kind) -> list[Story]:
    return stories(service_folders(), kinds or (Kind.FAILED, Kind.REFUSED))


async def one() -> Story:
    await until(lambda: len(kept()) == 1)
    return kept()[0]


async def test_each_attempt_of_a_failed_request_is_kept(valkey: RedisServer) -> None:
    async with refusing() as first, refusing() as second, proxying(valkey) as proxy:
        await proxy.route("a.test", first, second)
        page = await proxy.talk(
            b"GET /cart?id=7&token=secret HTTP/1.1\r\nHost: A.test\r\n"
            b"Cookie: s=secret\r\nAuthorization: Basic secret\r\n\r\n"
        )
        story = await one()
    assert story.id.encode() in page
    assert (story.kind, story.status, story.frontend) == (Kind.FAILED, 502, "a.test")
    assert (story.method, story.host, story.target) == ("GET", "A.test", "/cart?id=…&token=…")
    assert (story.client, story.http_version, story.scheme) == ("127.0.0.1", "1.1", "http")
    assert {each.backend for each in story.tries} == {first, second}
    assert {(each.outcome, each.says) for each in story.tries} == {("connection refused", "dead")}
    assert all(0 < each.total <= story.seconds for each in story.tries)
    assert "secret" not in repr(story)


async def test_a_retried_request_is_kept_with_both_attempts(valkey: RedisServer) -> None:
    async with (
        refusing() as dead,
        answering(answer(b"hello")) as good,
        proxying(valkey, **NONE_FOR_BEING_GOOD) as proxy,
    ):
        async with valkey.client as redis:
            await redis.hset("options:a.test", "policy", "round_robin")
        await proxy.route("a.test", dead, good)
        for _ in range(2):
            assert b" 200 " in await proxy.get()
        await until(lambda: any(len(story.tries) == 2 for story in kept(Kind.KEPT)))
        (story,) = [story for story in kept(Kind.KEPT) if len(story.tries) == 2]
    assert kept() == []
    assert [each.backend for each in story.tries] == [dead, good.url]
    assert [each.outcome for each in story.tries] == ["connection refused", "answered"]
    assert story.tries[1].head is not None
    assert story.bytes_out == len(b"hello")


async def test_a_backends_own_500_and_our_own_400_are_failures(valkey: RedisServer) -> None:
    async with (
        answering(answer(b"oh", status=b"500 Internal Server Error")) as backend,
        proxying(valkey) as proxy,
    ):
        await proxy.route("a.test", backend)
        await proxy.get()
        await proxy.get(host=b"unknown.test")
        await proxy.talk(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        await until(lambda: len(kept()) == 3)
        by_status = sorted((story.status, story.kind, len(story.tries)) for story in kept())
    assert by_status == [(400, Kind.REFUSED, 0), (400, Kind.REFUSED, 0), (500, Kind.FAILED, 1)]


async def test_a_backends_own_404_is_an_answer(valkey: RedisServer) -> None:
    async with (
        answering(answer(b"no", status=b"404 Not Found")) as backend,
        proxying(valkey) as proxy,
    ):
        await proxy.route("a.test", backend)
        for _ in range(3):
            await proxy.get()
        await until(lambda: len(kept(Kind.KEPT)) == 1)  # the sample of this second
    assert kept() == []


async def test_a_cut_answer_is_a_failure(valkey: RedisServer) -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    async with truncating(cut) as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        await proxy.get()
        story = await one()
    assert (story.kind, story.status, story.bytes_out) == (Kind.FAILED, 200, 3)
    (attempt,) = story.tries
    # It is evidence, but the only backend of a frontend stays.
    assert (attempt.outcome, attempt.says) == ("reset inside the body", "nothing")
    assert attempt.head is not None


async def test_a_client_that_left_is_kept_with_the_attempt_it_left(valkey: RedisServer) -> None:
    async with silent() as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await until(lambda: bool(backend.requests))
        client.reset()
        story = await one()
    assert (story.kind, story.status) == (Kind.REFUSED, 499)
    assert [(each.outcome, each.says) for each in story.tries] == [("client left", "nothing")]


async def test_a_slow_request_is_kept(valkey: RedisServer) -> None:
    async def slow(talk: Conversation) -> None:
        await talk.receive()
        await asyncio.sleep(0.06)  # not shorter: the proxy's clock began before
        await talk.send(answer(b"late"))

    async with (
        scripted(slow) as late,
        answering(answer(b"now")) as quick,
        proxying(valkey, slowRequest=0.05) as proxy,
    ):
        await proxy.route("slow.test", late)
        await proxy.route("quick.test", quick)
        await proxy.get(host=b"quick.test")  # the sample
        for host in (b"slow.test", b"quick.test", b"slow.test"):
            await proxy.get(host=host)
        await until(lambda: len(kept(Kind.KEPT)) >= 3)
        hosts = [story.host for story in kept(Kind.KEPT)]
    assert hosts.count("slow.test") == 2


async def test_it_can_be_switched_off(valkey: RedisServer, base: Path) -> None:
    async with refusing() as dead, proxying(valkey, flightRecorder=False) as proxy:
        await proxy.route("a.test", dead)
        assert b" 502 " in await proxy.get()
        assert kept() == []


async def test_the_time_in_the_queue_is_kept(valkey: RedisServer) -> None:
    async with (
        silent() as backend,
        proxying(valkey, maxSockets=1, queueTimeout=0.05) as proxy,
    ):
        await proxy.route("a.test", backend)
        first = await proxy.connect()
        first.send(b"GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await until(lambda: bool(backend.requests))
        assert b" 503 " in await proxy.get()
        story = await one()
        first.reset()
        await until(lambda: len(kept()) == 2)
        second, *_ = (each for each in kept() if each.id != story.id)
    (attempt,) = story.tries
    assert attempt.queue is not None
    assert 0.05 <= attempt.queue <= attempt.total
    assert second.tries[0].queue is None
