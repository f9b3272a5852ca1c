"""The moments that observers are told of, in their order, whichever way a request goes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from app.fields.headers import RawHeaders
from app.logs.record import AccessRecord
from app.proxy.attempt import Attempt
from app.proxy.observers import Observer, Observers
from app.proxy.request import Request
from tests.backends import answer, answering, refusing, truncating
from tests.proxy.test_queueing import busy, numbered
from tests.proxy.ways import OK, two_ways
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

MOMENTS = ("began", "attempt_began", "answered", "failed", "attempt_ended", "ended", "refused")

both_ways = pytest.mark.usefixtures("either_way")


class Diary(Observer):
    """Writes down every moment."""

    def __init__(self, proxy: Proxy) -> None:
        self.lines: list[str] = []
        assert proxy.app is not None
        self.gateway: Any = proxy.app.router.default.http._gateway  # type: ignore[attr-defined]
        for moment in MOMENTS:
            told = getattr(self.gateway.observers, moment)
            setattr(self.gateway.observers, moment, (*told, getattr(self, moment)))

    def began(self, request: Request) -> None:
        self.lines.append(f"began {request.host.decode()}")

    def attempt_began(self, request: Request, attempt: Attempt[Any]) -> None:
        assert attempt.request is request
        assert request.fields
        self.lines.append(f"attempt {request.record.attempts}")

    def answered(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        self.lines.append(f"answered {status}{'' if attempt else ' by ourselves'}")
        headers.append((b"x-seen", b"yes"))

    def attempt_ended(self, request: Request, attempt: Attempt[Any]) -> None:
        head = "" if attempt.seconds_to_head is None else " after a head"
        why = "" if attempt.error is None else f": {type(attempt.error).__name__}"
        self.lines.append(f"attempt ended{head}{why}")

    def ended(self, request: Request) -> None:
        self.lines.append(f"ended {request.record.status}")

    def refused(self, record: AccessRecord) -> None:
        self.lines.append(f"refused {record.status} {record.head.method} {record.head.host}")


@both_ways
async def test_the_moments_of_a_request_that_is_answered(valkey: RedisServer) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        diary = Diary(proxy)
        for _ in range(2):
            assert b"x-seen: yes" in await proxy.get()
    one = ["began a.test", "attempt 1", "answered 200", "attempt ended after a head", "ended 200"]
    assert diary.lines == one * 2


@both_ways
async def test_each_attempt_begins_and_ends(valkey: RedisServer) -> None:
    async with refusing() as dead, proxying(valkey, retryOnError=1) as proxy:
        await proxy.route("a.test", dead, dead.replace("127.0.0.1", "localhost"))
        diary = Diary(proxy)
        assert b"x-seen: yes" in await proxy.get()
    failed = "attempt ended: UpstreamUnreachable"
    assert diary.lines == [
        "began a.test", "attempt 1", failed, "attempt 2", failed,
        "answered 502 by ourselves", "ended 502",
    ]  # fmt: skip


@both_ways
async def test_an_answer_that_is_cut_ends_its_attempt_once(valkey: RedisServer) -> None:
    async with (
        truncating(OK + b"Content-Length: 9\r\n\r\nhalf") as backend,
        proxying(valkey) as proxy,
    ):
        await proxy.route("a.test", backend)
        diary = Diary(proxy)
        await proxy.get()
    assert diary.lines[2:] == [
        "answered 200", "attempt ended after a head: UpstreamCut", "ended 200",
    ]  # fmt: skip


@both_ways
async def test_a_redirect_and_a_refusal_are_answers_of_our_own(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy:
        async with valkey.client as client:
            await client.hset("options:a.test", "redirect", "on")
        await proxy.route("a.test", "http://127.0.0.1:9")
        diary = Diary(proxy)
        assert b"x-seen: yes" in await proxy.get()
        assert b"x-seen: yes" in await proxy.get(host=b"b.test")
        await proxy.get(host=b"__ping__")
        await proxy.talk(b"GET / HTTP/3.0\r\nHost: c.test\r\n\r\n")
    assert diary.lines == [
        "began a.test", "answered 308 by ourselves", "ended 308",
        "began b.test", "answered 400 by ourselves", "ended 400",
        "refused 505  c.test",
    ]  # fmt: skip


async def test_a_client_that_leaves_the_queue_ends_its_attempt(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with two_ways(valkey, tmp_path, maxSockets=1) as ways:
        for way in ways:
            async with busy(way) as crowd:
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                diary = Diary(way.proxy)
                clients += await crowd.ask(*numbered(2)[1:])
                await crowd.queued(1)
                clients[1].reset()
                await crowd.queued(0)
                before = list(diary.lines)
                crowd.go_on.set()
                await clients[0].response()
                await way.settled()
            name = crowd.host.decode()
            assert before == [f"began {name}", "attempt 1", "attempt ended", "ended 499"]


class Broken(Diary):
    """Raises at every moment, before all others are told."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        for moment in MOMENTS:
            told = getattr(self.gateway.observers, moment)

            def fail(*_: object, moment: str = moment) -> None:
                raise RuntimeError(f"broken at {moment}")

            setattr(self.gateway.observers, moment, (fail, *told))


@both_ways
async def test_an_observer_that_raises_hurts_nobody(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        broken = Broken(proxy)
        for _ in range(2):
            got = await proxy.get()
            assert got.endswith(b"\r\n\r\nhello")
            assert b"x-seen: yes" in got
        await proxy.route("b.test", "http://127.0.0.1:9")
        assert (await proxy.get(host=b"b.test")).startswith(b"HTTP/1.1 502 ")
        await proxy.talk(b"GET / HTTP/3.0\r\nHost: c.test\r\n\r\n")
        assert broken.gateway.in_flight == 0
        assert sum(count for _, count in broken.gateway.loads()) == 0
    one = ["began a.test", "attempt 1", "answered 200", "attempt ended after a head", "ended 200"]
    assert broken.lines[:10] == one * 2
    assert broken.lines[-1] == "refused 505  c.test"
    lines = [record for record in caplog.records if record.message.startswith("observer failed")]
    raised = {str(record.exc_info[1]) for record in lines if record.exc_info}
    assert raised == {f"broken at {moment}" for moment in MOMENTS}


def test_a_moment_that_nobody_overrides_is_told_to_nobody() -> None:
    class OnlyTheEnd(Observer):
        def ended(self, request: Request) -> None:
            pass

    observers = Observers([Observer(), OnlyTheEnd()])
    told = {moment for moment in MOMENTS if getattr(observers, moment)}
    assert told == {"ended"}


@both_ways
async def test_a_5xx_of_our_own_leaves_one_line_with_the_id_of_its_page(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with refusing() as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        page = await proxy.get()
        await proxy.get(host=b"unknown.test")
    lines = [m for m in caplog.messages if m.startswith("request failed")]
    assert len(lines) == 1, "a 4xx is the client's own affair"
    request_id = page.partition(b"<code>")[2].partition(b"</code>")[0].decode()
    assert request_id
    assert f"status=502 request_id={request_id} frontend=a.test backend={backend}" in lines[0]
    assert "cause=cannot connect to the backend" in lines[0]
