"""Trailers pass both ways to those who take them, and are never merged into a head."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TRAILERS = b"X-Sum: 1\r\nContent-Length: 7\r\nSet-Cookie: a=b\r\nX-Sum: 2\r\n"
ANSWER = CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nX-Sum: 2\r\n\r\n"
PASSED = b"\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n"
PLAIN = b"\r\n0\r\n\r\n"
TE = b"TE: trailers\r\nConnection: TE\r\n"
LAST = b"Connection: close\r\n"


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey) as proxy:
        yield proxy


def get(*fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET / HTTP/%b\r\nHost: a.test\r\n%b\r\n" % (version, b"".join(fields))


PIECES = [
    pytest.param((ANSWER,), id="in one piece"),
    pytest.param((CHUNKED, ANSWER[len(CHUNKED) :]), id="the head first"),
    pytest.param((ANSWER[:-20], ANSWER[-20:]), id="cut within the trailers"),
    pytest.param(
        (CHUNKED, b"5\r\nhel", b"lo\r\n", b"0\r\n", b"X-Sum: 1\r\n", b"X-Sum: 2\r\n\r\n"),
        id="line by line",
    ),
]


@pytest.mark.parametrize("pieces", PIECES)
async def test_an_answers_trailers_reach_who_takes_them(
    proxy: Proxy, pieces: tuple[bytes, ...]
) -> None:
    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            await conversation.send_apart(pieces)

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        for _ in range(2):  # the second one by a kept connection
            client.send(get(TE))
            head = (await client.until(b"\r\n\r\n")).lower()
            assert b"\r\ntransfer-encoding: chunked\r\n" in head
            assert b"x-sum" not in head
            assert (await client.until(b"\r\n\r\n")).endswith(PASSED)
        assert backend.accepted == 1
        assert backend.requests[1].get(b"te") == b"trailers"
        assert backend.requests[1].get(b"connection") == b"TE"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get(LAST), id="who says nothing"),
        pytest.param(get(b"TE: gzip\r\n", LAST), id="who takes another coding"),
    ],
)
async def test_they_do_not_reach_who_does_not(proxy: Proxy, request_: bytes) -> None:
    async with answering(ANSWER) as backend:
        await proxy.route("a.test", backend)
        got = await proxy.talk(request_)
    assert got.endswith(PLAIN)
    assert b"x-sum" not in got.lower()
    assert backend.requests[0].get(b"te") is None


async def test_an_old_client_gets_none(proxy: Proxy) -> None:
    async with answering(ANSWER) as backend:
        await proxy.route("a.test", backend)
        got = await proxy.talk(get(TE, version=b"1.0"))
    assert got.endswith(b"\r\n\r\nhello")


async def test_an_answer_to_head_has_none(proxy: Proxy) -> None:
    async with answering(CHUNKED) as backend:
        await proxy.route("a.test", backend)
        got = await proxy.talk(get(TE, LAST).replace(b"GET", b"HEAD"))
    assert got.endswith(b"\r\n\r\n")
    assert got.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    "lines",
    [b"X\r\n", b": 1\r\n", b"X: \0\r\n", b"X: %b\r\n" % (b"y" * 70000), b"GET / HTTP/1.1\r\n"],
    ids=["no colon", "no name", "NUL", "too large", "a request"],
)
async def test_malformed_trailers_cut_the_answer(proxy: Proxy, lines: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(CHUNKED + b"5\r\nhello\r\n")
        await sent.wait()
        await conversation.send(b"0\r\n" + lines + b"\r\n")
        await conversation.gone()

    async with scripted(script) as backend:
        sent = asyncio.Event()
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(get(TE))
        got = await client.until(b"hello\r\n")
        sent.set()
        got += await client.rest()
    assert got.endswith(b"5\r\nhello\r\n")


async def test_a_requests_trailers_reach_the_backend(proxy: Proxy) -> None:
    async with answering(answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        for _ in range(2):
            client = await proxy.connect()
            client.send(
                b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"5\r\nhello\r\n0\r\nX-Real-IP: 9.9.9.9\r\n" + TRAILERS + b"\r\n"
            )
            assert (await client.response())[0::2] == (200, b"ok")
    for request in backend.requests:
        assert request.body == b"hello"
        assert request.trailers == [(b"x-sum", b"1"), (b"x-sum", b"2")]
        assert request.get(b"x-sum") is None
        assert request.get(b"content-length") is None
        assert request.get(b"x-real-ip") == b"127.0.0.1"


async def test_a_request_that_is_sent_again_keeps_them(proxy: Proxy) -> None:
    async def closing(conversation: Conversation) -> None:
        await conversation.receive()
        conversation.close()

    async with scripted(closing) as bad, answering(answer(b"ok")) as good:
        await proxy.route("a.test", bad, good)
        while not bad.requests:
            client = await proxy.connect()
            client.send(
                b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
            )
            assert (await client.response())[0::2] == (200, b"ok")
    for request in good.requests:
        assert (request.body, request.trailers) == (b"hello", [(b"x-sum", b"1")])


async def test_a_body_with_a_length_has_none(proxy: Proxy) -> None:
    async with answering(answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        await proxy.talk(get(LAST, b"Content-Length: 5\r\n").replace(b"GET", b"POST") + b"hello")
    assert (backend.requests[0].body, backend.requests[0].trailers) == (b"hello", [])
