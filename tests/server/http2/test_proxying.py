"""Requests over HTTP/2 through the whole proxy to real backends, both ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.http2.engine import STREAM_WINDOW
from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer, until
from tests.server.http2.frames import GET, POST, Http2Client, data, head, speaking
from tests.serving import Proxy, proxying

TRAILED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
)
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture
async def proxy(valkey: RedisServer, either_way: None) -> AsyncIterator[Proxy]:
    async with proxying(valkey, http2=True) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Http2Client]:
    async with speaking(proxy.port) as client:
        yield client


async def test_a_backend_gets_http1_and_the_client_http2(proxy: Proxy, client: Http2Client) -> None:
    async with answering(answer(b"hello", b"X-A: 1", b'Alt-Svc: h3=":443"')) as backend:
        await proxy.route("a.test", backend)
        client.request(1, [*head(path=b"/a%2Fb?"), (b"user-agent", b"me")])
        got = await client.answer(1)
        assert (got.status, got.body, got.get(b"x-a")) == (200, b"hello", b"1")
        assert got.get(b"alt-svc") == b'h3=":443"'
        [request] = backend.requests
        assert request.line == (b"GET", b"/a%2Fb?")
        assert request.get(b"host") == b"a.test"
        assert request.get(b"user-agent") == b"me"
        assert request.get(b"via").startswith(b"2 hipache-")
        assert request.get(b"x-forwarded-proto") == b"http"


async def test_a_route_that_memory_does_not_have_yet(proxy: Proxy, client: Http2Client) -> None:
    client.request(1, head(host=b"nowhere.test"))
    got = await client.answer(1)
    assert (got.status, b"no site at this address" in got.body) == (400, True)


@pytest.mark.parametrize(
    "length",
    [
        pytest.param([(b"content-length", b"%d" % len(MEGABYTE))], id="of known length"),
        pytest.param([], id="in chunks"),
    ],
)
async def test_a_body_up_and_a_body_down(
    proxy: Proxy, client: Http2Client, length: list[tuple[bytes, bytes]]
) -> None:
    async def echo(conversation: Conversation) -> None:
        request = await conversation.receive()
        await conversation.send(answer(request.body))

    async with scripted(echo) as backend:
        await proxy.route("a.test", backend)
        client.send(client.headers(1, [*POST, *length]))
        await client.upload(1, MEGABYTE)
        assert (await client.answer(1)).body == MEGABYTE


async def test_a_cut_answer_is_reset_and_never_ended(proxy: Proxy, client: Http2Client) -> None:
    async def cut(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        conversation.close()

    async with scripted(cut) as backend:
        await proxy.route("a.test", backend)
        client.request(1, GET)
        got = await client.answer(1)
        assert (got.status, got.body, got.ended, got.reset) == (200, b"half", False, 2)
        client.request(3, GET)
        assert (await client.answer(3)).reset == 2, "the connection goes on"


async def test_a_reset_closes_the_backends_connection_at_once(
    proxy: Proxy, client: Http2Client
) -> None:
    reached, gone = asyncio.Event(), asyncio.Event()

    async def silent(conversation: Conversation) -> None:
        await conversation.receive()
        reached.set()
        await conversation.gone()
        gone.set()

    async with scripted(silent) as backend:
        await proxy.route("a.test", backend)
        client.request(1, GET)
        await reached.wait()
        client.reset(1)
        await gone.wait()


async def test_a_client_that_reads_nothing_stops_its_backend_only(
    proxy: Proxy, valkey: RedisServer
) -> None:
    sent = 0

    async def endless(conversation: Conversation) -> None:
        nonlocal sent
        await conversation.receive()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            await conversation.send(b"x" * 65536)
            sent += 65536

    async with scripted(endless) as backend, answering(answer(b"hi")) as quick:
        await proxy.route("a.test", backend)
        await proxy.route("b.test", quick)
        async with speaking(proxy.port, reads=False) as client:
            client.request(1, GET)
            await client.until(lambda: len(client.of(1).body) == 65535)
            before = -1
            while before < sent:  # up to what sockets hold
                before = sent
                client.window(0, 1000)
                client.request(3 + 2 * len(client.answers), head(host=b"b.test"))
                await asyncio.sleep(0.2)
            assert sent < 50_000_000
            assert all(client.of(n).body == b"hi" for n in client.answers if n > 1)


async def test_a_backend_that_reads_nothing_stops_the_upload(
    proxy: Proxy, client: Http2Client
) -> None:
    release = asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        await conversation.head()
        await release.wait()

    async with scripted(slow) as backend:
        await proxy.route("a.test", backend)
        client.send(client.headers(1, POST))
        uploading = asyncio.create_task(client.upload(1, b"x" * 100_000_000))
        before = -1
        while before < (taken := client.opened(1)):
            before = taken
            await asyncio.sleep(0.2)
        assert not uploading.done()
        assert taken < 50_000_000
        uploading.cancel()
        release.set()


async def test_uploads_that_wait_for_a_backend_hold_up_none_that_is_served(
    valkey: RedisServer, either_way: None
) -> None:
    """What they have sent counts as held; they are served in their turn."""
    release = asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        await release.wait()
        while await conversation.receive():
            await conversation.send(answer(b"slow"))

    waiting, beyond = range(3, 125, 2), range(301, 311, 2)
    body = MEGABYTE[:100_000]
    async with (
        scripted(slow) as backend,
        answering(answer(b"quick")) as quick,
        proxying(valkey, http2=True, maxSockets=1, retryMemory=16 * 2**20) as proxy,
        speaking(proxy.port) as client,
    ):
        await proxy.route("a.test", backend)
        await proxy.route("b.test", quick)
        uploads = []
        for stream in (1, *waiting):
            client.send(client.headers(stream, POST))
            uploads.append(asyncio.create_task(client.upload(stream, body)))
        await until(lambda: held(proxy) >= len(waiting) * STREAM_WINDOW)
        for stream in (201, 203):
            client.send(client.headers(stream, head(b"POST", host=b"b.test")))
            await client.upload(stream, MEGABYTE)
            assert (await client.answer(stream)).body == b"quick"
        for stream in beyond:  # more than one client's share of the memory
            client.send(client.headers(stream, POST))
            await client.upload(stream, body[:STREAM_WINDOW], end=False)
        assert (await client.answer(beyond[-1])).status == 503
        for stream in beyond:
            client.reset(stream)
        release.set()
        await asyncio.gather(*uploads)
        assert {(await client.answer(stream)).body for stream in (1, *waiting)} == {b"slow"}
        assert {request.body for request in backend.requests} == {body}
        await until(lambda: held(proxy) == 0)


def held(proxy: Proxy) -> int:
    """Bytes that count against `retryMemory`."""
    assert proxy.app is not None
    return proxy.app.router.default.http._gateway.held.memory.size  # type: ignore[attr-defined,no-any-return]


async def test_an_early_answer_is_delivered_and_the_rest_not_wanted(
    proxy: Proxy, client: Http2Client
) -> None:
    async def early(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(answer(b"no", status=b"413 Too Large"))
        await conversation.gone()

    async with scripted(early) as backend:
        await proxy.route("a.test", backend)
        client.send(client.headers(1, POST), data(1, b"x" * 1000))
        await client.until(lambda: client.of(1).reset is not None)
        got = client.of(1)
        assert (got.status, got.body, got.ended, got.reset) == (413, b"no", True, 0)


async def test_httpx_speaks_it(proxy: Proxy) -> None:
    async with answering(answer(b"hello")) as backend:
        await proxy.route("a.test", backend)
        async with httpx.AsyncClient(http2=True, http1=False, trust_env=False) as client:
            url = f"http://127.0.0.1:{proxy.port}/"
            got = await asyncio.gather(
                *(client.get(url, headers={"host": "a.test"}) for _ in range(50))
            )
        assert {(a.http_version, a.status_code, a.text) for a in got} == {("HTTP/2", 200, "hello")}


async def test_the_access_log_says_http2(
    valkey: RedisServer, tmp_path: Path, either_way: None
) -> None:
    log = tmp_path / "access.log"
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, http2=True, accessLog=str(log)) as proxy,
        speaking(proxy.port) as client,
    ):
        await proxy.route("a.test", backend)
        client.request(1, GET)
        await client.answer(1)
        client.request(3, [*head(b"CONNECT")[:1], (b":authority", b"a.test")])
        assert (await client.answer(3)).status == 405
        await until(lambda: log.exists() and log.read_text().count("\n") == 2)
    first, second = log.read_text().splitlines()
    assert '"GET / HTTP/2.0" 200 5' in first
    assert " 405 " in second


async def test_json_has_the_version(valkey: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, http2=True, accessLog=str(log), accessLogFormat="json") as proxy,
        speaking(proxy.port) as client,
    ):
        await proxy.route("a.test", backend)
        client.request(1, GET)
        await client.answer(1)
        await until(lambda: log.exists() and log.read_text().count("\n") == 1)
    assert json.loads(log.read_text())["http_version"] == "2"


async def test_trailers_pass_both_ways(proxy: Proxy, client: Http2Client) -> None:
    async with answering(TRAILED) as backend:
        await proxy.route("a.test", backend)
        for stream in (1, 3):
            client.send(
                client.headers(stream, [*POST, (b"te", b"trailers")]),
                data(stream, b"up"),
                client.headers(stream, [(b"x-up", b"2"), (b"content-type", b"x")], "END_STREAM"),
            )
            got = await client.answer(stream)
            assert (got.status, got.body, got.trailers) == (200, b"hello", [(b"x-sum", b"1")])
    for request in backend.requests:
        assert (request.body, request.trailers) == (b"up", [(b"x-up", b"2")])
        assert (request.get(b"te"), request.get(b"connection")) == (b"trailers", b"TE")


async def test_trailers_that_nobody_takes_are_dropped(proxy: Proxy, client: Http2Client) -> None:
    async with answering(TRAILED) as backend:
        await proxy.route("a.test", backend)
        client.request(1, GET)
        got = await client.answer(1)
    assert (got.status, got.body, got.trailers) == (200, b"hello", [])
