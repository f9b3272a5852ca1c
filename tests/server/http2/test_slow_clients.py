"""Clients that take or send nothing: each stream has its own time, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.http2.engine import STREAM_WINDOW
from app.server.edge import ClientLimits
from tests.redis_servers import until
from tests.server.http2.frames import GET, POST, data, head, speaking
from tests.server.serving import Served, answer, read_body, serving

CANCEL = 8
LIMITS = ClientLimits(idle_timeout=0.1, keep_alive_timeout=1.0, drain_grace=0.01)
TICK = 0.01


class App:
    """`/large` is an answer of 100 MB; any other request gets its body back."""

    def __init__(self) -> None:
        self.sent = self.cut = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/early":
            await answer(send)
            return
        if scope["path"] != "/large":
            await answer(send, await read_body(receive))
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(1600):
                part = b"x" * 65536
                await send({"type": "http.response.body", "body": part, "more_body": True})
                self.sent += len(part)
        except OSError:
            self.cut += 1
            raise
        await send({"type": "http.response.body"})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app, LIMITS, sweep=TICK, ws="none") as served:
        served.edge.prior_knowledge = True
        yield served


@pytest.fixture
async def patient(app: App) -> AsyncIterator[Served]:
    """For a test that takes long itself."""
    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        yield served


async def test_a_shut_window_ends_its_stream(served: Served, app: App) -> None:
    async with speaking(served.port, reads=False) as client:
        client.request(1, head(path=b"/large"))
        got = await client.answer(1)
        assert (len(got.body), got.reset) == (65535, CANCEL)
        assert app.sent <= 2 * 65536
        assert app.cut == 1
        client.window(0, 1000)
        client.request(3, POST, b"hi")
        assert (await client.answer(3)).body == b"hi"


async def test_a_window_that_opens_slowly_is_served(served: Served, app: App) -> None:
    async with speaking(served.port, reads=False, INITIAL_WINDOW_SIZE=0) as client:
        client.request(1, head(path=b"/large"))
        for size in range(1, 30):
            before = served.edge.now
            client.window(1, 1)
            await client.until(lambda: len(client.of(1).body) == size)  # noqa: B023
            await until(lambda: served.edge.now >= before + 3 * TICK)  # noqa: B023
        assert client.of(1).reset is None


async def test_what_is_held_of_an_answer_is_bounded(served: Served, app: App) -> None:
    async with speaking(served.port, reads=False, INITIAL_WINDOW_SIZE=0) as client:
        for stream in range(1, 257, 2):
            client.request(stream, head(path=b"/large"))
        for stream in range(1, 257, 2):
            assert (await client.answer(stream)).reset == CANCEL
        assert app.sent <= 128 * 65536


async def test_a_body_that_does_not_come(served: Served) -> None:
    async with speaking(served.port) as client:
        client.send(client.headers(1, POST), data(1, b"half"))
        assert (await client.answer(1)).status == 408
        client.request(3, POST, b"hi")
        assert (await client.answer(3)).body == b"hi"


async def test_a_body_that_nobody_reads_is_in_time() -> None:
    """The upload has filled its window: its client may not send."""
    limits = replace(LIMITS, idle_timeout=0.2)
    may_read = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await may_read.wait()
        await answer(send, b"%d" % len(await read_body(receive)))

    async with serving(app, limits, sweep=TICK, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.send(client.headers(1, POST))
            await client.upload(1, bytes(STREAM_WINDOW), end=False)
            await client.ponged()
            since = served.edge.now
            await until(lambda: served.edge.now >= since + 2 * limits.idle_timeout)
            assert not client.of(1).fields
            may_read.set()
            await client.until(lambda: client.opened(1) > 0)
            client.send(data(1, end=True))
            assert (await client.answer(1)).body == b"%d" % STREAM_WINDOW


async def test_an_idle_connection_is_closed_in_order(served: Served) -> None:
    async with speaking(served.port) as client:
        client.request(1, GET)
        await client.answer(1)
        assert await client.gone() == 0
        assert client.goaways[-1].last_stream_id == 1


async def test_a_client_that_says_nothing_is_closed() -> None:
    limits = ClientLimits(header_timeout=0.05)
    async with serving(App(), limits, sweep=TICK, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port, begin=False) as client:
            client.polite = False
            client.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert await client.gone() == 0


async def test_a_client_that_reads_nothing_at_all_is_cut(served: Served, app: App) -> None:
    """Its windows are wide open, so the bytes wait in the transport."""
    async with speaking(served.port, reads=False, INITIAL_WINDOW_SIZE=2**31 - 1) as client:
        client.window(0, 2**30)
        client.writer.transport.pause_reading()
        client.request(1, head(path=b"/large"))
        await until(lambda: app.cut == 1)
        assert app.sent < 50_000_000


async def test_a_reset_in_the_middle_of_a_frame_leaves_the_connections_window_open(
    patient: Served,
) -> None:
    """What had come of such a frame is lost: a thousand of them would stop all uploads."""
    async with speaking(patient.port, reads=False) as client:
        await client.ponged()
        for stream in range(1, 2001, 2):
            frame = data(stream, b"x" * 16384).serialize()
            client.send(client.headers(stream, head(b"POST", b"/early")))
            client.raw(frame[:9000])
            await client.until(lambda: client.of(stream).reset == 0)  # noqa: B023
            client.raw(frame[9000:])
        client.reads = True
        client.send(client.headers(2001, POST))
        for _ in range(20):
            client.send(data(2001, b"x" * 10_000))
            await client.ponged()
        client.send(data(2001, end=True))
        assert len((await client.answer(2001)).body) == 200_000
