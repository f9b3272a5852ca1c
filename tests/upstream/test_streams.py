"""A connection that carries several requests at once serves the same pool and the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.errors import UpstreamCut, UpstreamError
from app.upstream.answer import HIGH_WATER, Answer
from app.upstream.backend_stream import NEVER, BackendStream, Receiver
from app.upstream.limits import PoolLimits
from app.upstream.pool import Pool
from tests.backends import Conversation, scripted
from tests.upstream.test_pool import eventually

STREAMS = 2
FRAME = 6


def frame(number: int, kind: bytes, data: bytes = b"") -> bytes:
    """A piece of one stream: its number, a letter, a length, the data."""
    return b"%d%b%04x%b" % (number, kind, len(data), data)


class Shared(asyncio.Protocol):
    """A connection of several streams, in a protocol small enough for a test."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.streams: dict[int, Stream] = {}
        self.numbers = iter(range(9))
        self.connect_time: float | None = None
        self.deadline = NEVER
        self.begun = 0
        self.held = b""

    @property
    def is_idle(self) -> bool:
        return not self.streams

    def open_stream(self) -> Stream:
        return Stream(self)

    def in_use(self) -> list[tuple[Receiver, BackendStream]]:
        return [(stream.receiver, stream) for stream in self.streams.values()]

    def expire(self, now: float) -> None:
        self.close()

    def close(self) -> None:
        self.transport.abort()

    def announce(self) -> None:
        """One more stream is free."""
        self.pool.on_available(Stream(self))

    def ended(self, number: int) -> None:
        was_full = len(self.streams) == STREAMS
        if self.streams.pop(number, None) is None:
            return
        if self.is_idle:
            self.deadline = asyncio.get_running_loop().time() + self.pool.idle_timeout
        if was_full:
            self.announce()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self.held + data
        while len(data) >= FRAME and len(data) >= (end := FRAME + int(data[2:6], 16)):
            stream = self.streams.get(int(data[:1]))
            if stream is not None:
                stream.take(data[1:2], data[FRAME:end])
            data = data[end:]
        self.held = data

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in tuple(self.streams.values()):
            stream.receiver.on_lost(UpstreamCut())
        self.streams.clear()
        self.pool.on_closed(self)


class Stream:
    """One request on a Shared: a BackendStream."""

    def __init__(self, connection: Shared) -> None:
        self.connection = connection
        self.connect_time = connection.connect_time
        self.new_future: Callable[[], asyncio.Future[None]] = (
            asyncio.get_running_loop().create_future
        )
        self.number = -1
        self.paused = False

    def is_available(self) -> bool:
        return not self.connection.transport.is_closing()

    def hung_up(self) -> bool:
        return False

    def begin(self, receiver, method, target, headers, body=None, **_: object) -> None:
        connection = self.connection
        self.receiver, self.number = receiver, next(connection.numbers)
        connection.streams[self.number] = self
        connection.deadline = NEVER
        connection.transport.write(frame(self.number, b"R", target))
        if len(connection.streams) < STREAMS:
            connection.announce()

    def take(self, kind: bytes, data: bytes) -> None:
        if kind == b"H":
            self.receiver.on_head(200, b"OK", [])
        elif kind == b"B":
            self.receiver.on_body(data)
        else:
            self.connection.ended(self.number)
            self.receiver.on_end([])

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.connection.ended(self.number)

    def fail(self, error: UpstreamError) -> None:
        self.abort()
        self.receiver.on_lost(error)


class SharedPool(Pool):
    """A pool whose connections are Shared."""

    def _new_connection(self):
        return Shared(self)


@asynccontextmanager
async def pooled(url: str, **limits: object) -> AsyncIterator[SharedPool]:
    _, _, port = url.rpartition(":")
    unused: list[object] = []
    pool = SharedPool(
        ("http", "127.0.0.1", int(port)),
        PoolLimits(**{"max_sockets": 1, **limits}),
        lambda: pytest.fail("no TLS here"),
        unused.append,
    )
    yield pool
    pool.close()
    await eventually(lambda: bool(unused))


async def ask(pool: Pool, request: bytes) -> Answer:
    """Send `request` on a stream of its own, as the transport does."""
    stream = pool.take(checked=True) or await pool.wait(pool.queue(None), checked=True)
    answer = Answer(stream)
    stream.begin(answer, b"GET", request, [])
    return answer


async def until_asked(conversation: Conversation, requests: bytes) -> None:
    """Read until the requests of streams 0, 1, 2 ... have come, one letter each."""
    for number, request in enumerate(requests):
        expected = frame(number, b"R", bytes((request,)))
        assert await conversation.reader.readexactly(len(expected)) == expected


async def test_two_answers_share_a_connection_piece_by_piece():
    async def script(conversation: Conversation) -> None:
        await until_asked(conversation, b"ab")
        for number, kind, data in ((1, b"H", b""), (0, b"H", b""), (1, b"B", b"one"),
                                   (0, b"B", b"zero"), (0, b"E", b""), (1, b"E", b"")):  # fmt: skip
            await conversation.send(frame(number, kind, data))
        await conversation.gone()

    async with scripted(script) as backend, pooled(backend.url) as pool:
        first, second = await ask(pool, b"a"), await ask(pool, b"b")
        await asyncio.gather(first.wait_for_head(), second.wait_for_head())
        bodies = [b"".join([data async for data in answer]) for answer in (first, second)]
        assert (bodies, backend.accepted) == ([b"zero", b"one"], 1)


async def test_a_request_waits_for_a_free_stream_and_not_for_a_free_connection():
    finish = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await until_asked(conversation, b"ab")
        await finish.wait()
        await conversation.send(frame(1, b"H") + frame(1, b"E"))
        await conversation.reader.readexactly(len(frame(2, b"R", b"c")))
        await conversation.send(frame(2, b"H") + frame(2, b"E"))
        await conversation.gone()

    async with scripted(script) as backend, pooled(backend.url) as pool:
        first, second = await ask(pool, b"a"), await ask(pool, b"b")
        third = asyncio.create_task(ask(pool, b"c"))
        await eventually(lambda: pool.queued == 1)
        finish.set()
        await asyncio.gather(second.wait_for_head(), (await third).wait_for_head())
        assert (first._began, backend.accepted) == (False, 1)
        await first.aclose()


async def test_a_stream_that_is_given_up_leaves_the_others_alone():
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await until_asked(conversation, b"ab")
        await go_on.wait()
        await conversation.send(frame(1, b"H") + frame(1, b"B", b"x") + frame(1, b"E"))
        await conversation.gone()

    async with scripted(script) as backend, pooled(backend.url) as pool:
        first, second = await ask(pool, b"a"), await ask(pool, b"b")
        await first.aclose()
        go_on.set()
        await second.wait_for_head()
        assert b"".join([data async for data in second]) == b"x"


async def test_a_slow_reader_pauses_its_stream_only():
    async def script(conversation: Conversation) -> None:
        await until_asked(conversation, b"ab")
        piece = frame(0, b"B", bytes(60_000))
        await conversation.send(frame(0, b"H") + piece + piece + frame(1, b"H") + frame(1, b"E"))
        await conversation.gone()

    async with scripted(script) as backend, pooled(backend.url) as pool:
        slow, quick = await ask(pool, b"a"), await ask(pool, b"b")
        await asyncio.gather(slow.wait_for_head(), quick.wait_for_head())
        assert [data async for data in quick] == []
        stream = slow._stream
        assert isinstance(stream, Stream)
        await eventually(lambda: stream.paused)
        assert slow._buffered >= HIGH_WATER
        await slow.aclose()


async def test_a_lost_connection_cuts_all_its_answers():
    async def script(conversation: Conversation) -> None:
        await until_asked(conversation, b"ab")

    async with scripted(script) as backend, pooled(backend.url) as pool:
        answers = [await ask(pool, b"a"), await ask(pool, b"b")]
        ends = await asyncio.gather(
            *(each.wait_for_head() for each in answers), return_exceptions=True
        )
        assert [type(end) for end in ends] == [UpstreamCut, UpstreamCut]


async def test_only_an_idle_connection_is_closed_for_being_unused():
    async def script(conversation: Conversation) -> None:
        await until_asked(conversation, b"a")
        await conversation.send(frame(0, b"H") + frame(0, b"E"))
        await conversation.gone()

    async with scripted(script) as backend, pooled(backend.url, idle=5.0) as pool:
        answer = await ask(pool, b"a")
        later = asyncio.get_running_loop().time() + 10
        pool.sweep(later)  # it has a free stream, and a request under way
        assert pool.connections == 1
        await answer.wait_for_head()
        await eventually(lambda: next(iter(pool._open)).is_idle)
        pool.sweep(later)
        await eventually(lambda: pool.connections == 0)
