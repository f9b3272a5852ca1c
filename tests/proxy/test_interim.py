"""1xx answers pass, and the backend decides whether a body that was asked about is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nConnection: x\r\nContent-Length: 5\r\n\r\n"
PASSED = b"HTTP/1.1 103 Early Hints\r\nlink: </s.css>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ASK = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey) as proxy:
        yield proxy


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_early_hints_come_before_the_answer_does(proxy: Proxy, body: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(HINTS)
        await seen.wait()
        await conversation.send(answer(b"ok"))

    async with scripted(script) as backend:
        seen = asyncio.Event()
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert await client.until(b"\r\n\r\n") == PASSED
        seen.set()
        assert (await client.response())[0::2] == (200, b"ok")


async def test_what_an_old_client_cannot_skip_is_dropped(proxy: Proxy) -> None:
    async with answering(HINTS + answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        got = await proxy.talk(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_100_that_nobody_waits_for_is_dropped(proxy: Proxy) -> None:
    async with answering(CONTINUE + answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        assert (await proxy.get()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("size", [5, 10_000_000])
async def test_the_backend_refuses_by_the_head_alone(proxy: Proxy, size: int) -> None:
    async def script(conversation: Conversation) -> None:
        head = await conversation.head()
        assert head.get(b"expect") == b"100-continue"
        await conversation.send(answer(b"no", status=b"401 Unauthorized"))
        await conversation.gone()

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(ASK % size)
        got = await client.rest()
    assert got.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert got.endswith(b"\r\nconnection: close\r\n\r\nno")


@pytest.mark.parametrize("says", [CONTINUE, b""], ids=["it says so", "it says nothing"])
async def test_the_client_is_told_to_go_on(proxy: Proxy, says: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(says)
        body = await conversation.reader.readexactly(5)
        await conversation.send(answer(body))

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(ASK % 5)
        assert await client.until(b"\r\n\r\n") == CONTINUE
        client.send(b"hello")
        assert (await client.response())[0::2] == (200, b"hello")


async def test_a_body_that_was_sent_unasked_goes_on_at_once(proxy: Proxy) -> None:
    async with answering(answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(ASK % 5)
        await backend.until(lambda backend: backend.accepted == 1)
        client.send(b"hello")
        assert (await client.response())[0::2] == (200, b"ok")
    assert backend.requests[0].body == b"hello"
