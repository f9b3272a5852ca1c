"""Each timeout for itself, and that what moves never runs into one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from app.config.structs import ServerConfig
from app.errors import UpstreamTimeout
from app.upstream.limits import pool_limits
from tests.backends import Conversation, answer, scripted, silent
from tests.upstream.asking import asked, opened, read

CHUNKED = b"Transfer-Encoding: chunked"
BLOCK = bytes(65536)


async def slowly(*pieces: bytes, pause: float) -> AsyncIterator[bytes]:
    """The pace is what these tests are about, so here time must pass."""
    for piece in pieces:
        await asyncio.sleep(pause)
        yield piece


@pytest.mark.parametrize(
    "server",
    [
        pytest.param({"response_timeout": 0.05}, id="responseTimeout"),
        pytest.param({"tcp_timeout": 0.05}, id="tcpTimeout in its place"),
    ],
)
async def test_a_backend_that_does_not_answer(client):
    async with silent() as backend:
        with pytest.raises(UpstreamTimeout) as caught:
            await opened(client, backend.url)
        assert (caught.value.status, caught.value.request_sent) == (504, True)
        await backend.until(lambda backend: backend.open == 0)


@pytest.mark.parametrize("server", [{"response_timeout": 0.1, "tcp_timeout": 30.0}])
async def test_a_head_that_trickles_is_late_all_the_same(client):
    async def head(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            async for byte in slowly(b"x", pause=0.01):
                await conversation.send(byte)

    async with scripted(head) as backend:
        with pytest.raises(UpstreamTimeout):
            await opened(client, backend.url)


@pytest.mark.parametrize("server", [{"tcp_timeout": 0.05}])
async def test_a_body_that_stops(client):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"hello")[:-1])
        await conversation.gone()

    async with scripted(script) as backend:
        got = await opened(client, backend.url)
        assert await anext(got) == b"hell"
        with pytest.raises(UpstreamTimeout):
            await read(got)


@pytest.mark.parametrize("server", [{"tcp_timeout": 0.1, "response_timeout": 30.0}])
async def test_a_long_download_that_moves(client):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        async for byte in slowly(*[b"x"] * 10, pause=0.03):
            await conversation.send(byte)

    async with scripted(script) as backend:
        assert (await asked(client, backend.url)).body == b"x" * 10


@pytest.mark.parametrize("server", [{"tcp_timeout": 0.05}])
async def test_a_client_that_reads_slowly_is_not_the_backends_fault(client):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(BLOCK * 200))

    async with scripted(script) as backend:
        got = await opened(client, backend.url)
        await asyncio.sleep(0.2)
        assert len((await read(got)).body) == len(BLOCK) * 200


@pytest.mark.parametrize("server", [{"tcp_timeout": 0.05}])
async def test_a_client_that_sends_slowly_is_not_the_backends_fault(client):
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer((await conversation.receive()).body))

    async with scripted(script) as backend:
        body = slowly(b"he", b"llo", pause=0.2)
        assert (
            await asked(client, backend.url, CHUNKED, method=b"PUT", body=body)
        ).body == b"hello"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield BLOCK


@pytest.mark.parametrize("server", [{"tcp_timeout": 0.1, "response_timeout": 30.0}])
@pytest.mark.parametrize("held", [True, False], ids=["held", "streamed"])
async def test_a_backend_that_stops_reading(client, held):
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await asyncio.Event().wait()

    async with scripted(script, limit=len(BLOCK)) as backend:
        body = BLOCK * 400 if held else endless()
        with pytest.raises(UpstreamTimeout):
            await opened(client, backend.url, CHUNKED, method=b"PUT", body=body)


@pytest.mark.parametrize("server", [{"tcp_timeout": 0.5, "response_timeout": 30.0}])
@pytest.mark.parametrize("held", [True, False], ids=["held", "streamed"])
async def test_a_long_upload_that_moves(client, held):
    blocks = 300  # far more than the kernel's buffers take

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        left = blocks * len(BLOCK)
        for _ in range(16):
            await asyncio.sleep(0.05)
            left -= len(await conversation.reader.read(4 * len(BLOCK)))
        await conversation.reader.readexactly(left)
        await conversation.send(answer(b"all"))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield BLOCK

    async with scripted(script, limit=len(BLOCK)) as backend:
        data = BLOCK * blocks if held else body()
        length = b"Content-Length: %d" % (blocks * len(BLOCK))
        assert (await asked(client, backend.url, length, method=b"PUT", body=data)).body == b"all"


@pytest.mark.parametrize(
    ("server", "response"),
    [
        ({}, 30.0),
        ({"tcp_timeout": 0.0}, math.inf),
        ({"tcp_timeout": 7.0}, 7.0),
        ({"response_timeout": 2.0}, 2.0),
        ({"response_timeout": 0.0}, math.inf),
    ],
)
def test_zero_switches_a_limit_off(server, response):
    assert pool_limits(ServerConfig(**server)).response == response


@pytest.mark.parametrize("server", [{"response_timeout": 0.1, "tcp_timeout": 30.0}])
@pytest.mark.parametrize("begun", [b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nX: y"])
async def test_a_head_that_stops_inside_an_upload(client, begun):
    seen = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send_apart([begun])
        seen.set()
        await conversation.gone()

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await seen.wait()
        async for piece in slowly(b"b", pause=0.02):
            yield piece

    async with scripted(script) as backend:
        with pytest.raises(UpstreamTimeout) as caught:
            async with asyncio.timeout(5):
                await opened(client, backend.url, CHUNKED, method=b"PUT", body=body())
    assert caught.value.answer_begun
