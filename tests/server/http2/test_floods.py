"""Clients that cost more than they may: each is cut off, little is held, others are served."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
)

from app.config.http2_limits import Http2Limits
from app.server.edge import ClientLimits
from tests.redis_servers import until
from tests.server.http2.frames import GET, POST, Http2Client, data, speaking
from tests.server.serving import Served, answer, serving

PROTOCOL_ERROR, CALM = 1, 11
MB = 2**20


class Waiting:
    """An application whose every request runs until its client goes."""

    def __init__(self) -> None:
        self.begun = self.running = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        if scope["path"] == "/quick":
            await answer(send)
            return
        self.running += 1
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self.running -= 1


@pytest.fixture
def app() -> Waiting:
    return Waiting()


@pytest.fixture
async def bounded(served: Served) -> AsyncIterator[None]:
    """The attack holds little memory, and somebody else is served during it and after it."""
    before = psutil.Process().memory_info().rss
    async with speaking(served.port) as other:
        await other.ponged()
        yield
        other.request(1, [*GET[:3], (b":path", b"/quick")])
        assert (await other.answer(1)).status == 200
    assert psutil.Process().memory_info().rss - before < 64 * MB


async def flood(client: Http2Client, piece: bytes, times: int) -> int | None:
    """Send `piece` again and again until the server closes; the code of its GOAWAY."""
    for _ in range(times):
        if client.closed or client.writer.transport.is_closing():
            break
        client.raw(piece)
        await asyncio.sleep(0)
    return await client.gone()


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "one by one"])
async def test_rapid_reset(client: Http2Client, app: Waiting, together: bool) -> None:
    """CVE-2023-44487."""
    for stream in range(1, 20_001, 2):
        if client.closed or client.writer.transport.is_closing():
            break
        client.send(client.headers(stream, GET, "END_STREAM"))
        if not together:
            await client.ponged() if stream % 99 == 0 else await asyncio.sleep(0)
        client.reset(stream)
        if stream % 499 == 0:
            await asyncio.sleep(0)
    assert await client.gone() == CALM
    assert app.begun <= 2020
    await until(lambda: app.running == 0)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "offence",
    [
        pytest.param(
            lambda n: b"\0\0\4\x08\0" + struct.pack(">II", n, 0), id="a window by nothing"
        ),
        pytest.param(
            lambda n: b"\0\0\4\x08\0" + struct.pack(">II", n, 2**31 - 1), id="a window too large"
        ),
        pytest.param(lambda n: data(n, b"x").serialize(), id="DATA behind the end"),
        pytest.param(
            lambda n: b"\0\0\5\2\0" + struct.pack(">IIB", n, n, 0), id="its own dependency"
        ),
        pytest.param(
            lambda n: b"\0\0\3\2\0" + struct.pack(">I", n) + b"abc", id="a short PRIORITY"
        ),
    ],
)
async def test_made_you_reset(client: Http2Client, app: Waiting, offence: Any) -> None:
    """CVE-2025-8671: the server is made to reset streams whose requests go on behind it."""
    for stream in range(1, 20_001, 2):
        if client.closed or client.writer.transport.is_closing():
            break
        client.send(client.headers(stream, GET, "END_STREAM"))
        client.raw(offence(stream))
        if stream % 499 == 0:
            await asyncio.sleep(0)
    assert await client.gone() is not None
    assert app.begun <= 128
    await until(lambda: app.running == 0)


@pytest.mark.usefixtures("bounded")
async def test_bodies_longer_than_they_said(client: Http2Client, app: Waiting) -> None:
    """The other form: each breaks its own stream only, and the engine resets it."""
    fields = [*POST, (b"content-length", b"1")]
    for stream in range(1, 20_001, 2):
        if client.closed or client.writer.transport.is_closing():
            break
        client.send(client.headers(stream, fields), data(stream, b"xx"))
        await asyncio.sleep(0)
    assert await client.gone() == CALM
    assert app.begun <= 2020
    await until(lambda: app.running == 0)


@pytest.mark.usefixtures("bounded")
async def test_continuations_without_an_end(client: Http2Client, app: Waiting) -> None:
    """CVE-2024-27316 and its kin."""
    client.send(HeadersFrame(1, data=b"\x82\x86\x84"))
    piece = ContinuationFrame(1, data=b"\x40\x01a\x01b" * 100).serialize()
    assert await flood(client, piece, 10_000) is not None
    assert app.begun == 0


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(PingFrame(0, opaque_data=b"12345678").serialize(), id="PING"),
        pytest.param(SettingsFrame().serialize(), id="SETTINGS"),
        pytest.param(SettingsFrame(settings={4: 1}).serialize(), id="SETTINGS with a value"),
    ],
)
async def test_frames_that_want_an_answer(client: Http2Client, piece: bytes, reads: bool) -> None:
    if not reads:
        client.writer.transport.pause_reading()
        for _ in range(200):
            client.raw(piece * 1000)
            await asyncio.sleep(0)
        client.writer.transport.resume_reading()
    assert await flood(client, piece * 100, 1000) is not None


async def test_a_client_hears_that_its_pings_are_too_many(client: Http2Client) -> None:
    """grpcio's double the time between them then (gRFC A8)."""
    client.raw(PingFrame(0, opaque_data=b"12345678").serialize() * 501)
    assert await client.gone() == CALM
    assert client.goaways[-1].additional_data == b"too_many_pings"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(DataFrame(1).serialize(), id="DATA without data"),
        pytest.param(DataFrame(1, pad_length=100, flags=["PADDED"]).serialize(), id="padding"),
    ],
)
async def test_frames_without_content(client: Http2Client, piece: bytes) -> None:
    client.send(client.headers(1, POST))
    assert await flood(client, piece * 100, 1000) == CALM


@pytest.mark.usefixtures("bounded")
async def test_a_bomb_of_indexed_fields(client: Http2Client, app: Waiting) -> None:
    """CVE-2026-49975: a few octets on the wire become kilobytes of fields, again and again."""
    bomb = [*GET, *[(b"cookie", b"x" * 3900)] * 4000]
    for stream in range(1, 257, 2):
        if client.closed or client.writer.transport.is_closing():
            break
        client.send(client.headers(stream, bomb, "END_STREAM"))
        await asyncio.sleep(0)
    assert await client.gone() is not None
    assert app.begun == 0


async def test_a_connection_of_many_pings_in_time_lives(client: Http2Client) -> None:
    for _ in range(100):
        await client.ponged()
    client.request(1, [*GET[:3], (b":path", b"/quick")])
    assert (await client.answer(1)).status == 200


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(PingFrame(0, opaque_data=b"12345678").serialize(), id="by an error"),
        pytest.param(b"\0\0\1\1\5\0\0\0\1\x82", id="by its own GOAWAY"),
    ],
)
async def test_what_the_engine_counts_is_counted_as_a_flood(
    served: Served, client: Http2Client, piece: bytes
) -> None:
    client.request(1, [*GET[:3], (b":path", b"/quick")])
    await client.answer(1)
    assert await flood(client, piece * 100, 1000) == CALM
    assert served.edge.http2_floods == 1


async def test_the_rates_can_be_set(app: Waiting) -> None:
    limits = ClientLimits(http2=Http2Limits(max_pings=1))
    async with serving(app, limits, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            for _ in range(10):
                await client.ponged()
            client.send(PingFrame(0, opaque_data=b"12345678"))
            assert await client.gone() == CALM
            assert served.edge.http2_floods == 1


async def test_more_streams_than_there_may_be(app: Waiting) -> None:
    limits = ClientLimits(http2=Http2Limits(max_streams=2))
    async with serving(app, limits, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            await client.ponged()
            assert client.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 2
            for stream in (1, 3, 5):
                client.request(stream, GET)
            await client.until(lambda: client.of(5).reset is not None or bool(client.goaways))
            assert app.begun <= 2


async def test_a_fault_of_ours_costs_one_connection(
    served: Served, client: Http2Client, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    served.edge.on_refusal = fail
    async with speaking(served.port) as other:
        client.request(1, [*GET, (b"host", b"b.test")])
        assert await client.gone() == 2
        other.request(1, [*GET[:3], (b":path", b"/quick")])
        assert (await other.answer(1)).status == 200
    assert [r.levelno for r in caplog.records if "HTTP/2 failed" in r.message] == [logging.ERROR]


async def test_no_preface_no_service(served: Served) -> None:
    served.edge.limits = ClientLimits(header_timeout=0.01)
    async with speaking(served.port, begin=False) as client:
        client.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n")
        assert await client.gone() is not None
