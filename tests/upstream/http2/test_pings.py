"""A backend that has vanished without a word is found by a PING."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import UpstreamCut, UpstreamReset
from app.upstream.backend_stream import NEVER
from app.upstream.client import UpstreamClient
from app.upstream.http2.heartbeat import Beat, Heartbeat
from tests.upstream.asking import asked, opened, read
from tests.upstream.conftest import client, pytest_asyncio_loop_factories, server
from tests.upstream.http2.backend import Asked, Http2Backend, speaking_http2

__all__ = ["client", "pytest_asyncio_loop_factories", "server"]


@pytest.fixture
async def backend() -> AsyncIterator[Http2Backend]:
    async with speaking_http2() as backend:
        backend.on_end = lambda asked: None
        yield backend


def vanish(asked: Asked) -> None:
    """Read nothing more: not even a PING."""
    asked.link.transport.pause_reading()


@pytest.mark.parametrize("server", [{"backend_ping": 0.05}])
async def test_a_backend_that_vanishes_before_its_answer(
    client: UpstreamClient, backend: Http2Backend
):
    backend.on_end = vanish
    waiting = [asyncio.create_task(asked(client, backend.url)) for _ in range(3)]
    for request in waiting:
        with pytest.raises(UpstreamReset, match="answers no PING"):
            await request
    backend.on_end = lambda asked: asked.head(end=True)
    assert (await asked(client, backend.url)).status == 200
    assert len(backend.links) == 2


@pytest.mark.parametrize("server", [{"backend_ping": 0.05}])
async def test_a_backend_that_vanishes_in_its_answer(client: UpstreamClient, backend: Http2Backend):
    def begin(asked: Asked) -> None:
        asked.head()
        asked.body_part(b"half")
        vanish(asked)

    backend.on_end = begin
    answer = await opened(client, backend.url)
    with pytest.raises(UpstreamCut, match="answers no PING"):
        await read(answer)


@pytest.mark.parametrize("server", [{"backend_ping": 0.2}])
async def test_a_backend_that_takes_its_time_is_asked_once(
    client: UpstreamClient, backend: Http2Backend
):
    waiting = asyncio.create_task(asked(client, backend.url))
    await backend.until(lambda: backend.links and backend.links[0].pings)
    backend.requests[0].head(end=True)
    assert (await waiting).status == 200
    assert backend.links[0].pings == 1


def test_silence_is_broken_off_by_a_ping() -> None:
    beat = Heartbeat(10)
    assert beat.look(0, busy=True) is Beat.NOTHING
    assert beat.look(9, busy=True) is Beat.NOTHING
    assert beat.look(10, busy=True) is Beat.ASK
    assert beat.look(29, busy=True) is Beat.NOTHING
    assert beat.look(30, busy=True) is Beat.END


def test_nothing_is_asked_without_requests_or_while_something_comes() -> None:
    beat = Heartbeat(10)
    assert {beat.look(now, busy=False) for now in range(0, 1000, 10)} == {Beat.NOTHING}
    for now in range(1000, 2000, 10):
        beat.heard = True
        assert beat.look(now, busy=True) is Beat.NOTHING


def test_requests_that_begin_on_an_idle_connection_begin_the_silence() -> None:
    beat = Heartbeat(10)
    beat.look(0, busy=False)
    assert beat.look(100, busy=True) is Beat.NOTHING
    assert beat.look(110, busy=True) is Beat.ASK


def test_servers_of_grpc_get_no_more_pings_than_they_allow() -> None:
    beat = Heartbeat(10)
    asked = []
    for now in range(1000):
        if beat.look(now, busy=True) is Beat.ASK:
            asked.append(now)
            beat.heard = True  # its acknowledgement
    assert asked == [10, 310, 610, 910]
    beat.heard = beat.answered = True
    assert beat.look(1000, busy=True) is Beat.NOTHING
    assert beat.look(1010, busy=True) is Beat.ASK


def test_no_limit_asks_nothing() -> None:
    beat = Heartbeat(NEVER)
    assert {beat.look(now, busy=True) for now in range(0, 10**6, 1000)} == {Beat.NOTHING}
