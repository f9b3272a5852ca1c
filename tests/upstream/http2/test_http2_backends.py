"""Backends that speak HTTP/2: many requests share a connection, and none hurts another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import (
    BackendForbidden,
    UpstreamBadAnswer,
    UpstreamConnectTimeout,
    UpstreamCut,
    UpstreamRefused,
    UpstreamReset,
    UpstreamStale,
    UpstreamTimeout,
    UpstreamUnreachable,
    WebSocketsUnsupported,
)
from app.routing import parse_backend
from app.upstream.client import UpstreamClient
from app.upstream.framing import MAX_INTERIM
from tests.backends import answer, answering, silent
from tests.upstream.asking import asked, opened, read
from tests.upstream.conftest import client, pytest_asyncio_loop_factories, server
from tests.upstream.http2.backend import Asked, Http2Backend, Link, echo, speaking_http2

__all__ = ["client", "pytest_asyncio_loop_factories", "server"]

MEGABYTE = bytes(range(256)) * 4096


def hold(asked: Asked) -> None:
    """Say nothing yet."""


@pytest.fixture
async def backend() -> AsyncIterator[Http2Backend]:
    async with speaking_http2() as backend:
        yield backend


async def test_a_request_and_its_answer(client: UpstreamClient, backend: Http2Backend):
    fields = b"X-A: b", b"Connection: TE", b"te: trailers"
    got = await asked(client, backend.url, *fields, target=b"/a?")
    assert (got.status, got.headers, got.body) == (200, [(b"x-path", b"/a?")], b"")
    [request] = backend.requests
    assert request.fields == [
        (b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x.org"), (b":path", b"/a?"),
        (b"x-a", b"b"), (b"te", b"trailers"),
    ]  # fmt: skip


async def test_only_those_who_waited_for_a_connection_say_how_long_it_took(
    client: UpstreamClient, backend: Http2Backend
):
    assert ((await asked(client, backend.url)).connect_time or 0.0) > 0
    assert (await asked(client, backend.url)).connect_time is None  # on the same place
    kept, backend.on_end = backend.on_end, hold
    waiting = asyncio.create_task(asked(client, backend.url))
    await backend.until(lambda: len(backend.requests) == 3)
    backend.on_end = kept
    assert (await asked(client, backend.url)).connect_time is None  # on another place
    kept(backend.requests[2])
    assert (await waiting).connect_time is None
    assert len(backend.links) == 1


async def test_requests_share_one_connection(client: UpstreamClient, backend: Http2Backend):
    backend.on_end = hold
    waiting = [asyncio.create_task(asked(client, backend.url)) for _ in range(30)]
    await backend.until(lambda: len(backend.requests) == 30)
    for request in reversed(backend.requests):
        request.head()
        request.body_part(b"%d" % request.number, end=True)
    answers = await asyncio.gather(*waiting)
    assert {int(got.body) for got in answers} == set(range(1, 60, 2))
    assert len(backend.links) == 1


async def test_a_further_connection_where_the_backend_takes_no_more(client: UpstreamClient):
    async with speaking_http2(most=2) as backend:
        backend.on_end = hold
        waiting = [asyncio.create_task(asked(client, backend.url)) for _ in range(5)]
        await backend.until(lambda: len(backend.requests) == 5)
        assert [len(link.asked) for link in backend.links] == [2, 2, 1]
        for request in backend.requests:
            request.head(end=True)
        await asyncio.gather(*waiting)


async def test_a_backend_that_takes_no_requests(client: UpstreamClient):
    async with speaking_http2(most=0) as backend:
        with pytest.raises(UpstreamUnreachable, match="takes no requests"):
            await asked(client, backend.url)
        assert len(backend.links) == 1


@pytest.mark.parametrize("server", [{"http_keep_alive": False}], ids=["none_kept"])
async def test_a_connection_for_each_request(client: UpstreamClient, backend: Http2Backend):
    await asyncio.gather(*[asked(client, backend.url) for _ in range(3)])
    await backend.until(lambda: all(link.closed for link in backend.links))
    assert [len(link.asked) for link in backend.links] == [1, 1, 1]


async def test_a_backend_that_leaves_at_once(client: UpstreamClient, backend: Http2Backend):
    backend.greeting = b"\0\0\x08\x07\0\0\0\0\0" + bytes(8)
    with pytest.raises(UpstreamUnreachable, match="closed the connection at once"):
        await asked(client, backend.url)
    assert len(backend.links) == 1


async def test_after_a_bad_answer_no_two_requests_get_one_place(
    client: UpstreamClient, backend: Http2Backend
):
    """Each of them would get the answer to the other one."""

    def without_end(asked: Asked) -> None:
        for _ in range(MAX_INTERIM + 1):
            asked.link.engine.send_headers(asked.number, [(b":status", b"103")])

    backend.on_end = without_end
    with pytest.raises(UpstreamBadAnswer, match="without end"):
        await asked(client, backend.url)
    backend.on_end = hold
    waiting = [asyncio.create_task(asked(client, backend.url, target=b"/%d" % n)) for n in range(3)]
    await backend.until(lambda: len(backend.requests) == 4)
    for request in backend.requests[1:]:
        echo(request)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*waiting)
    assert [dict(got.headers)[b"x-path"] for got in answers] == [b"/0", b"/1", b"/2"]
    assert len(backend.links) == 1


@pytest.mark.parametrize("server", [{"max_sockets": 2}], ids=["two"])
async def test_max_sockets_bounds_the_requests_at_once(client, backend: Http2Backend):
    backend.on_end = hold
    waiting = [asyncio.create_task(asked(client, backend.url)) for _ in range(3)]
    await backend.until(lambda: len(backend.requests) == 2)
    backend.requests[0].head(end=True)
    await backend.until(lambda: len(backend.requests) == 3)
    for request in backend.requests[1:]:
        request.head(end=True)
    await asyncio.gather(*waiting)
    assert len(backend.links) == 1


async def test_a_large_body_both_ways(client: UpstreamClient, backend: Http2Backend):
    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(MEGABYTE), 50_000):
            yield MEGABYTE[at : at + 50_000]

    def answer_piecewise(asked: Asked) -> None:
        asked.head()
        rest = bytearray(asked.body)

        async def send() -> None:
            while rest:
                room = asked.link.engine.local_flow_control_window(asked.number)
                size = min(room, 16384, len(rest))
                if size:
                    asked.body_part(bytes(rest[:size]))
                    del rest[:size]
                await asyncio.sleep(0)
            asked.end((b"x-sum", b"1"))

        backend.task = asyncio.create_task(send())  # type: ignore[attr-defined]

    backend.on_end = answer_piecewise
    answer = await opened(
        client, backend.url, b"Transfer-Encoding: chunked", method=b"POST", body=body()
    )
    got = await read(answer)
    assert got.body == MEGABYTE
    assert list(answer.trailers) == [(b"x-sum", b"1")]
    assert backend.requests[0].get(b"transfer-encoding") is None


@pytest.mark.parametrize("server", [{"max_sockets": 4}], ids=["four"])
async def test_an_answer_that_nobody_reads_hurts_no_other(client, backend: Http2Backend):
    def fill(asked: Asked) -> None:
        asked.head()
        if asked.get(b":path") == b"/stuck":
            while (room := asked.link.engine.local_flow_control_window(asked.number)) > 0:
                asked.body_part(bytes(min(room, 16384)))
        else:
            asked.body_part(b"well" * 4000, end=True)

    backend.on_end = fill
    stuck = [await opened(client, backend.url, target=b"/stuck") for _ in range(3)]
    for _ in range(40):  # more than what stuck ones leave of the connection's window
        assert (await asked(client, backend.url)).body == b"well" * 4000
    await stuck[0].aclose()
    await backend.until(lambda: backend.requests[0].reset == 8)
    assert (await asked(client, backend.url)).body == b"well" * 4000
    for other in stuck[1:]:
        await other.aclose()
    assert len(backend.links) == 1


async def test_an_upload_waits_for_the_backends_window(client, backend: Http2Backend):
    backend.reads = False
    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 16384
            yield bytes(16384)

    waiting = asyncio.create_task(
        opened(client, backend.url, b"Transfer-Encoding: chunked", method=b"POST", body=body())
    )
    await backend.until(lambda: backend.requests and len(backend.requests[0].body) == 65535)
    for _ in range(20):
        await asyncio.sleep(0)
    assert given <= 65535 + 65536 + 2 * 16384
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await backend.until(lambda: backend.requests[0].reset == 8)


async def test_goaway_finishes_what_it_covers_and_frees_the_rest(client, backend: Http2Backend):
    backend.on_end = hold
    first = asyncio.create_task(asked(client, backend.url))
    await backend.until(lambda: len(backend.requests) == 1)
    second = asyncio.create_task(asked(client, backend.url))
    await backend.until(lambda: len(backend.requests) == 2)
    [link] = backend.links
    link.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\x01" + b"\0\0\0\0")
    with pytest.raises(UpstreamStale) as caught:
        await second
    assert not caught.value.request_sent
    backend.requests[0].head()
    backend.requests[0].body_part(b"whole", end=True)
    assert (await first).body == b"whole"
    await backend.until(lambda: link.closed)
    backend.on_end = lambda asked: asked.head(end=True)
    await asked(client, backend.url)
    assert len(backend.links) == 2


@pytest.mark.parametrize(
    ("code", "error", "sent"), [(7, UpstreamRefused, False), (2, UpstreamReset, True)]
)
async def test_a_stream_that_the_backend_resets(client, backend, code, error, sent):
    backend.on_end = lambda asked: asked.reset_by(code)
    with pytest.raises(error) as caught:
        await asked(client, backend.url)
    assert caught.value.request_sent is sent


async def test_a_body_that_the_backend_cuts(client: UpstreamClient, backend: Http2Backend):
    backend.on_end = lambda asked: asked.head()
    answer = await opened(client, backend.url)
    backend.requests[0].reset_by(2)
    with pytest.raises(UpstreamCut):
        await read(answer)


async def test_a_connection_that_breaks(client: UpstreamClient, backend: Http2Backend):
    backend.on_end = lambda asked: asked.link.transport.abort()
    with pytest.raises(UpstreamReset):
        await asked(client, backend.url)


@pytest.mark.parametrize("server", [{"response_timeout": 0.1}], ids=["short"])
async def test_an_answer_that_does_not_come(client: UpstreamClient, backend: Http2Backend):
    backend.on_end = hold
    with pytest.raises(UpstreamTimeout):
        await asked(client, backend.url)
    await backend.until(lambda: backend.links[0].closed)


async def test_a_backend_that_speaks_http1(client: UpstreamClient):
    async with answering(answer(b"")) as backend:
        with pytest.raises(UpstreamUnreachable, match="does not speak HTTP/2"):
            await asked(client, backend.url.replace("http:", "h2c:"))


@pytest.mark.parametrize("server", [{"connect_timeout": 0.1}], ids=["short"])
async def test_a_backend_that_says_nothing(client: UpstreamClient):
    async with silent() as backend:
        with pytest.raises(UpstreamConnectTimeout, match="does not speak HTTP/2"):
            await asked(client, backend.url.replace("http:", "h2c:"))


@pytest.mark.parametrize("server", [{"backend_idle_timeout": 0.1}], ids=["short"])
async def test_an_unused_connection_ends(client: UpstreamClient, backend: Http2Backend):
    await asyncio.gather(*[asked(client, backend.url) for _ in range(3)])
    await backend.until(lambda: backend.links[0].closed)


async def test_a_proxy_without_the_engine_says_what_to_install(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "ngh2", None)
    with pytest.raises(BackendForbidden, match="extra http2"):
        await asked(client, "h2c://127.0.0.1:1")


async def test_a_web_socket_is_not_asked_for_where_none_is_taken(
    client: UpstreamClient, backend: Http2Backend
):
    with pytest.raises(WebSocketsUnsupported, match="ENABLE_CONNECT_PROTOCOL"):
        await client.upgrade(parse_backend(backend.url, 0), b"/", [])
    assert not backend.requests


async def test_a_backend_on_a_socket(client: UpstreamClient, tmp_path: Path) -> None:
    backend = Http2Backend(100)
    path = tmp_path / "backend"
    listening = await asyncio.get_running_loop().create_unix_server(lambda: Link(backend), path)
    try:
        got = await asked(client, f"h2c+unix:{path}", target=b"/a")
        assert (got.status, got.headers) == (200, [(b"x-path", b"/a")])
        with pytest.raises(BackendForbidden, match="WebSockets"):
            await client.upgrade(parse_backend(f"h2c+unix:{path}", 0), b"/", [])
    finally:
        listening.close()
        for link in backend.links:
            link.transport.abort()
