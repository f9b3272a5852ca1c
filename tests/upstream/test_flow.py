"""Nobody is sent faster than it reads: little waits in the proxy, either way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from app.upstream.answer import HIGH_WATER
from tests.backends import Conversation, answer, scripted
from tests.upstream.asking import opened, read
from tests.upstream.test_pool import eventually

ONE_READ = 256 * 1024  # both event loops ask the kernel for at most this
BLOCK = bytes(65536)


async def test_a_slow_client_stops_the_backend(client):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(BLOCK * 400))

    async with scripted(script) as backend:
        got = await opened(client, backend.url)
        stream = got._stream
        assert stream is not None
        await eventually(lambda: stream.paused)
        assert HIGH_WATER <= got._buffered < HIGH_WATER + ONE_READ
        assert len((await read(got)).body) == len(BLOCK) * 400


async def test_a_slow_backend_stops_the_client(client):
    produced = 0
    read_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        nonlocal produced
        for _ in range(400):
            produced += 1
            yield BLOCK

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await read_on.wait()
        await conversation.reader.readexactly(400 * len(BLOCK))
        await conversation.send(answer(b"all"))

    async with scripted(script, limit=len(BLOCK)) as backend:
        length = b"Content-Length: %d" % (400 * len(BLOCK))
        request = opened(client, backend.url, length, method=b"PUT", body=body())
        task = asyncio.create_task(request)
        await backend.until(lambda backend: len(backend.requests) == 1)
        [connection] = next(iter(client._transport.pools))._open
        await eventually(lambda: connection._drained is not None)
        stopped_at = produced
        assert connection._transport.get_write_buffer_size() <= 2 * HIGH_WATER
        read_on.set()
        assert (await read(await task)).body == b"all"
        assert (stopped_at < 400, produced) == (True, 400)


async def test_small_pieces_are_not_held_back(client):
    step = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await conversation.send(b"1\r\na\r\n")
            await step.wait()
            step.clear()
        await conversation.send(b"0\r\n\r\n")

    async with scripted(script) as backend:
        got = await opened(client, backend.url)
        assert got.whole is None
        for _ in range(3):
            assert await anext(got) == b"a"
            step.set()
        assert (await read(got)).body == b""
