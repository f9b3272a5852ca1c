"""Bodies on the move: who waits for whom, and what happens when one of them leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.backends import Conversation, answer, answering, scripted, silent
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey) as proxy:
        yield proxy


async def test_an_event_reaches_the_client_before_the_next_one_exists(proxy: Proxy) -> None:
    seen = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(CHUNKED + b"6\r\nfirst\n\r\n")
        await seen.wait()
        await conversation.send(b"7\r\nsecond\n\r\n0\r\n\r\n")

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(GET)
        await client.until(b"first\n")
        seen.set()
        await client.until(b"second\n\r\n0\r\n\r\n")


async def test_a_head_without_body_reaches_the_client_at_once(proxy: Proxy) -> None:
    seen = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await seen.wait()
        await conversation.send(b"ok")

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(GET)
        await client.until(b"\r\n\r\n")
        seen.set()
        await client.until(b"ok")


async def test_an_upload_reaches_the_backend_as_it_comes(proxy: Proxy) -> None:
    half_seen = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        assert await conversation.reader.readexactly(9) == b"4\r\nhalf\r\n"
        half_seen.set()
        assert await conversation.reader.readexactly(14) == b"4\r\nrest\r\n0\r\n\r\n"
        await conversation.send(answer(b"done"))

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"4\r\nhalf\r\n")
        await half_seen.wait()
        client.send(b"4\r\nrest\r\n0\r\n\r\n")
        assert (await client.response())[2] == b"done"


async def test_an_early_refusal_of_an_upload_reaches_the_client(proxy: Proxy) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(answer(b"too much", status=b"413 Content Too Large"))
        await conversation.gone()

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999\r\n\r\nonly this")
        assert (await client.response())[0] == 413


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(GET, id="while it waits for the head"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9999999\r\n\r\npart", id="sending"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            id="sending chunks",
        ),
    ],
)
async def test_a_client_that_leaves_takes_the_backends_connection_along(
    proxy: Proxy, sent: bytes
) -> None:
    async with silent() as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(sent)
        await backend.until(lambda b: len(b.requests) == 1)
        client.reset()
        await backend.until(lambda b: b.open == 0)


async def test_a_client_that_leaves_inside_the_answer_takes_it_along(proxy: Proxy) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(CHUNKED + b"5\r\nstart\r\n")
        await conversation.gone()

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(GET)
        await client.until(b"start")
        client.reset()
        await backend.until(lambda b: b.accepted == 1 and b.open == 0)


async def test_a_slow_client_stops_the_backend(proxy: Proxy) -> None:
    total = 64 * 2**20
    written = 0

    async def script(conversation: Conversation) -> None:
        nonlocal written
        await conversation.head()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while written < total:
            await conversation.send(bytes(65536))
            written += 65536

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(GET)
        await client.until(b"\r\n\r\n")
        before = -1
        while before != written:  # until nothing moves any more
            before = written
            for _ in range(200):
                await asyncio.sleep(0)
        assert written < total
        received = 0
        while received < total:
            received += len(await client.read(2**20))


async def test_a_client_that_half_closes_still_gets_its_answer(proxy: Proxy) -> None:
    go = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await go.wait()
        await conversation.send(answer(b"late"))

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(GET)
        client.end()
        await backend.until(lambda b: len(b.requests) == 1)
        go.set()
        assert (await client.rest()).endswith(b"late")


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy) -> None:
    async with answering(answer(b"one"), answer(b"two"), answer(b"three")) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(GET * 3)
        assert [(await client.response())[2] for _ in range(3)] == [b"one", b"two", b"three"]


async def test_connections_to_a_backend_are_kept(proxy: Proxy) -> None:
    async with answering(answer(b"x")) as backend:
        await proxy.route("a.test", backend)
        for _ in range(5):
            await proxy.get()
        assert (backend.accepted, len(backend.requests)) == (1, 5)
