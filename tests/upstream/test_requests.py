"""What goes out to a backend, and who is to blame when it does not."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from app.errors import (
    RequestBodyMismatch,
    UpstreamConnectTimeout,
    UpstreamReset,
    UpstreamStale,
    UpstreamUnreachable,
)
from tests.backends import (
    Conversation,
    answer,
    answering,
    refusing,
    resetting,
    scripted,
    truncating,
    unreachable,
)
from tests.upstream.asking import asked, opened, read

LENGTH = b"Content-Length: %d"
CHUNKED = b"Transfer-Encoding: chunked"


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


@pytest.mark.parametrize(
    ("field", "body", "sent"),
    [
        pytest.param(LENGTH % 5, lambda: b"hello", b"hello", id="held, with a length"),
        pytest.param(CHUNKED, lambda: b"hello", b"hello", id="held, in chunks"),
        pytest.param(LENGTH % 3, lambda: pieces(b"a", b"", b"bc"), b"abc", id="streamed"),
        pytest.param(CHUNKED, lambda: pieces(b"a", b"", b"bc"), b"abc", id="streamed, in chunks"),
        pytest.param(LENGTH % 0, lambda: b"", b"", id="empty"),
        pytest.param(LENGTH % 0, pieces, b"", id="empty, streamed"),
        pytest.param(CHUNKED, pieces, b"", id="empty, streamed, in chunks"),
        pytest.param(CHUNKED, lambda: b"", b"", id="empty, in chunks"),
    ],
)
async def test_a_body_arrives_as_its_head_announces_it(client, field, body, sent):
    async with answering(answer(b"ok")) as backend:
        for _ in range(2):
            await asked(client, backend.url, field, method=b"POST", body=body())
        assert [request.body for request in backend.requests] == [sent, sent]
        assert backend.accepted == 1


async def test_a_large_body_is_streamed_both_ways(client):
    async def script(conversation: Conversation) -> None:
        request = await conversation.receive()
        await conversation.send(answer(request.body))

    block = bytes(range(256)) * 256
    async with scripted(script) as backend:
        body = pieces(*[block] * 40)
        got = await asked(client, backend.url, LENGTH % (40 * 65536), method=b"PUT", body=body)
        assert got.body == block * 40


@pytest.mark.parametrize("data", [(b"hell",), (b"hello", b"!"), (b"hello!",), ()])
async def test_a_body_of_another_length_is_the_clients_fault(client, data):
    async with scripted(Conversation.gone) as backend:
        with pytest.raises(RequestBodyMismatch):
            await opened(client, backend.url, LENGTH % 5, method=b"PUT", body=pieces(*data))
        await backend.until(lambda backend: backend.open == 0)


async def test_a_held_body_of_another_length_is_not_sent(client):
    async with answering(answer(b"")) as backend:
        with pytest.raises(RequestBodyMismatch):
            await opened(client, backend.url, LENGTH % 5, method=b"PUT", body=b"hell")
        assert backend.accepted == 0


async def test_what_a_body_raises_is_raised_and_the_connection_closed(client):
    async def broken() -> AsyncIterator[bytes]:
        yield b"he"
        raise InterruptedError("the client has left")

    async with scripted(Conversation.gone) as backend:
        with pytest.raises(InterruptedError, match="the client has left"):
            await opened(client, backend.url, LENGTH % 5, method=b"PUT", body=broken())
        await backend.until(lambda backend: backend.open == 0)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (b"/ HTTP/1.1\r\nX: y", b"A: b"),
        (b"/a b", b"A: b"),
        (b"/", b"A: b\r\nX: y"),
        (b"/", b"A: b\nX: y"),
    ],
)
async def test_a_request_that_would_be_another_one_is_not_sent(client, target, field):
    async with answering(answer(b"")) as backend:
        with pytest.raises(ValueError, match="must have none"):
            await opened(client, backend.url, field, target=target)
        assert backend.accepted == 0


async def test_an_early_answer_wins_over_the_rest_of_the_body(client):
    more = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"a" * 10
        await more.wait()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(answer(b"too large", status=b"413 Content Too Large"))
        await conversation.gone()

    async with scripted(script) as backend:
        got = await opened(client, backend.url, LENGTH % 20, method=b"PUT", body=endless())
        assert (got.status, got.whole) == (413, b"too large")
        await got.aclose()
        await backend.until(lambda backend: backend.open == 0)
    assert not [task for task in asyncio.all_tasks() if "upstream" in task.get_name()]


async def test_a_connection_is_kept_if_the_body_ends_after_the_answer(client):
    answered = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"he"
        await answered.wait()
        yield b"llo"

    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.head()
            await conversation.send(answer(b"early"))
            await conversation.reader.readexactly(5)

    async with scripted(script) as backend:
        for _ in range(2):
            answered.clear()
            got = await opened(client, backend.url, LENGTH % 5, method=b"PUT", body=slow())
            answered.set()
            await next(t for t in asyncio.all_tasks() if t.get_name() == "upstream request body")
            assert (await read(got)).body == b"early"
        assert backend.accepted == 1


async def test_answer_and_body_may_flow_at_the_same_time(client):
    echoed: asyncio.Queue[bytes] = asyncio.Queue()

    async def ping_pong() -> AsyncIterator[bytes]:
        yield b"1"
        yield await echoed.get()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        for _ in range(2):
            await conversation.send(await conversation.reader.readexactly(1))

    async with scripted(script) as backend:
        got = await opened(client, backend.url, LENGTH % 2, method=b"POST", body=ping_pong())
        assert await anext(got) == b"1"
        echoed.put_nowait(b"2")
        assert (await read(got)).body == b"2"


async def test_a_refused_connection_has_sent_nothing(client):
    async with refusing() as url:
        with pytest.raises(UpstreamUnreachable, match="refused") as caught:
            await opened(client, url)
        assert not caught.value.request_sent


@pytest.mark.parametrize("server", [{"connect_timeout": 0.05}])
async def test_a_connection_that_is_not_made_in_time_has_sent_nothing(client):
    async with unreachable() as url:
        with pytest.raises(UpstreamConnectTimeout) as caught:
            await opened(client, url)
        assert not caught.value.request_sent


async def test_a_new_connection_that_closes_has_perhaps_done_something(client):
    for backend in (resetting(), truncating(b"")):
        async with backend as running:
            with pytest.raises(UpstreamReset) as caught:
                await opened(client, running.url)
            assert caught.value.request_sent


async def test_a_kept_connection_that_closes_was_stale(client):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"a"))
        await conversation.receive()

    async with scripted(script) as backend:
        await asked(client, backend.url)
        with pytest.raises(UpstreamStale) as caught:
            await opened(client, backend.url)
        assert caught.value.request_sent
        assert (await asked(client, backend.url)).connect_time is not None


@pytest.mark.parametrize("method", [b"PUT", b"POST"])
async def test_a_body_leaves_on_no_connection_that_was_closed_meanwhile(client, method):
    """Not all of it may be held to be sent again."""
    kept: list[asyncio.StreamWriter] = []

    async def script(conversation: Conversation) -> None:
        kept.append(conversation.writer)
        while await conversation.receive():
            await conversation.send(answer(b"a"))

    async with scripted(script) as backend:
        await asked(client, backend.url)
        number = kept[0].get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(number)) as same:
            same.shutdown(socket.SHUT_RDWR)  # the event loop has not seen it
        assert (
            await asked(client, backend.url, LENGTH % 1, method=method, body=b"x")
        ).status == 200
    assert backend.accepted == 2
