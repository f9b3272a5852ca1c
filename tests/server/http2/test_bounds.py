"""What one connection may hold: heads, uploads, windows and the frames that move them."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from typing import Any

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    HeadersFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from app.config.http2_limits import Http2Limits
from app.http2.engine import STREAM_WINDOW, WIDE_STREAMS, WIDE_WINDOW, connection_window
from app.server.edge import ClientLimits
from tests.server.http2.frames import MAX_FRAME, POST, Http2Client, data, head, speaking
from tests.server.serving import Served, answer, read_body, serving

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CALM = 1, 3, 7, 11
MB = 2**20
WAITING_HEAD = [*head(path=b"/wait"), *[(b"cookie", b"x" * 3900)] * 15]
"""60 KB of fields, which HPACK says in 20 octets from the second time on."""


class Site:
    """`/wait` takes nothing and answers nothing, `/large` is large, others get their body back."""

    def __init__(self) -> None:
        self.waiting = self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/large":
            await self._large(send)
        elif scope["path"] != "/wait":
            await answer(send, await read_body(receive))
        else:
            self.waiting += 1
            gone = asyncio.Event()
            scope["extensions"]["hipache.exchange"].on_disconnect(gone.set)
            await gone.wait()
            self.waiting -= 1

    async def _large(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.sent += 65536


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def app(site: Site) -> Site:
    return site


async def asks(client: Http2Client, stream: int) -> None:
    """The connection serves a request."""
    client.request(stream, POST, b"hi")
    assert (await client.answer(stream)).body == b"hi"


# Heads.


async def test_large_heads_are_bounded_together(client: Http2Client, site: Site) -> None:
    """A stream too many is refused, and the client may ask again (RFC 9113 §8.7)."""
    for stream in range(1, 81, 2):
        client.request(stream, WAITING_HEAD)
    await client.ponged()
    refused = [n for n in range(1, 81, 2) if client.of(n).reset is not None]
    assert {client.of(n).reset for n in refused} == {REFUSED_STREAM}
    assert len(refused) == 40 - 17
    assert site.waiting == 17
    client.request(81, WAITING_HEAD)
    assert (await client.answer(81)).reset == REFUSED_STREAM
    client.reset(1)
    client.request(83, WAITING_HEAD)
    await client.ponged()
    assert client.of(83).reset is None
    await asks(client, 85)


async def test_heads_that_are_reset_at_once_are_judged_piece_by_piece(client: Http2Client) -> None:
    """One read of 256 KiB would become half a gigabyte before the first of them was counted."""
    bomb = b"".join(
        client.headers(stream, WAITING_HEAD, "END_STREAM").serialize()
        + b"\0\0\4\3\0"
        + struct.pack(">II", stream, 8)
        for stream in range(1, 10_001, 2)
    )
    tracemalloc.start()
    try:
        client.raw(bomb)
        assert await client.gone() == CALM
        assert tracemalloc.get_traced_memory()[1] < 48 * MB
    finally:
        tracemalloc.stop()


async def test_refused_streams_end_the_connection(client: Http2Client) -> None:
    for stream in range(1, 4001, 2):
        if client.closed or client.writer.transport.is_closing():
            break
        client.request(stream, WAITING_HEAD)
        await asyncio.sleep(0)
    assert await client.gone() == CALM


# Uploads.


@pytest.mark.parametrize("whole", [False, True], ids=["begun", "whole"])
async def test_uploads_that_nobody_takes_hold_up_no_other_one(site: Site, whole: bool) -> None:
    """All other streams send what their own windows allow, and the connection has room for one."""
    limits = ClientLimits(http2=Http2Limits(max_streams=8))
    async with serving(site, limits, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            for stream in range(1, 15, 2):
                client.send(client.headers(stream, head(b"POST", b"/wait")))
                await client.upload(stream, bytes(STREAM_WINDOW), end=whole)
            await client.ponged()
            assert site.waiting == 7
            assert [client.opened(stream) for stream in range(1, 15, 2)] == [0] * 7
            body = bytes(connection_window(limits.http2))
            client.send(client.headers(15, POST))
            await client.upload(15, body, used=7 * STREAM_WINDOW)
            assert (await client.answer(15)).body == body


async def test_a_window_is_widened_once_the_body_is_read(client: Http2Client) -> None:
    """Not for all streams at once: what is sent ahead takes memory."""
    bodies = [bytes(STREAM_WINDOW)] * (WIDE_STREAMS + 2)
    for at, body in enumerate(bodies):
        client.send(client.headers(2 * at + 1, POST))
        await client.upload(2 * at + 1, body, end=False)
        await client.ponged()
    opened = [client.opened(2 * at + 1) for at in range(len(bodies))]
    assert min(opened[:WIDE_STREAMS]) >= WIDE_WINDOW - STREAM_WINDOW
    assert max(opened[WIDE_STREAMS:]) <= STREAM_WINDOW
    client.send(data(1, end=True))
    await client.answer(1)
    client.send(client.headers(999, POST))
    await client.upload(999, bytes(WIDE_WINDOW))
    assert len((await client.answer(999)).body) == WIDE_WINDOW
    assert client.opened(999) >= WIDE_WINDOW - STREAM_WINDOW


async def test_data_beyond_a_streams_window(client: Http2Client) -> None:
    client.send(client.headers(1, head(b"POST", b"/wait")))
    for at in range(0, STREAM_WINDOW, MAX_FRAME):
        client.send(data(1, bytes(min(MAX_FRAME, STREAM_WINDOW - at))))
    await client.ponged()
    assert client.of(1).reset is None
    client.send(data(1, b"x"))
    await client.until(lambda: client.of(1).reset is not None or bool(client.goaways))
    assert (client.of(1).reset or client.goaways[-1].error_code) == FLOW_CONTROL_ERROR


# Frames.

LIMIT = 1000
"""Frames that move windows or priorities in ten seconds."""


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(WindowUpdateFrame(0, window_increment=1).serialize(), id="connection"),
        pytest.param(WindowUpdateFrame(1, window_increment=1).serialize(), id="stream"),
        pytest.param(b"\0\0\7\x10\0\0\0\0\0\0\0\0\1u=1", id="priority"),
    ],
)
async def test_frames_that_move_windows_and_priorities(
    served: Served, client: Http2Client, piece: bytes
) -> None:
    client.request(1, head(path=b"/wait"))
    client.raw(piece * (LIMIT - 5))
    await client.ponged()
    client.raw(piece * 100)
    assert await client.gone() == CALM
    assert served.edge.http2_floods == 1


async def test_a_client_that_acknowledges_each_frame_is_no_flood(client: Http2Client) -> None:
    """Two WINDOW_UPDATEs for each DATA frame of an answer, however large and small they are."""
    client.send(client.headers(1, POST))
    await client.upload(1, bytes(MB))
    assert len((await client.answer(1)).body) == MB
    for stream in range(3, 1503, 2):
        client.request(stream, POST, b"x")
        await client.answer(stream)
    await client.ponged()
    assert not client.goaways


async def test_data_dribble(site: Site, client: Http2Client) -> None:
    """CVE-2019-9511: many streams, whose windows open by one octet at a time."""
    client.reads = False
    client.send(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
    for stream in range(1, 129, 2):
        client.request(stream, head(path=b"/large"))
    await client.ponged()
    for turn in range(5000):
        if client.closed or client.writer.transport.is_closing():
            break
        client.window(2 * (turn % 64) + 1, 1)
        await asyncio.sleep(0)
    assert await client.gone() == CALM
    assert site.sent <= 64 * 2 * 65536


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(
            [PriorityFrame(n, depends_on=n + 2, stream_weight=n % 256) for n in range(1, 2001, 2)],
            id="CVE-2019-9513: priorities are switched off",
        ),
        pytest.param(
            [PriorityFrame(3, depends_on=1, exclusive=bool(n % 2)) for n in range(2000)],
            id="CVE-2019-9513: so nothing is sorted anew",
        ),
    ],
)
async def test_frames_that_change_nothing(client: Http2Client, frames: list[Frame]) -> None:
    """The engine drops them unread, and counts them."""
    client.raw(b"".join(frame.serialize() for frame in frames) * 20)
    assert await client.gone() == CALM


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(
            lambda n: HeadersFrame(n, data=b"\x82", flags=["END_HEADERS", "END_STREAM"]),
            id="CVE-2019-9514: heads that have to be reset",
        ),
        pytest.param(
            lambda n: HeadersFrame(
                n, data=b"\x82\x86\x84\x41\x01a\0\0\0", flags=["END_HEADERS", "END_STREAM"]
            ),
            id="CVE-2019-9516: a name and a value of no octets",
        ),
    ],
)
async def test_heads_that_are_none(client: Http2Client, piece: Any) -> None:
    for stream in range(1, 4001, 2):
        if client.closed or client.writer.transport.is_closing():
            break
        client.send(piece(stream))
        await asyncio.sleep(0)
    assert await client.gone() == CALM
    assert client.frames[-1].last_stream_id < 2 * LIMIT + 20


async def test_answers_that_only_the_windows_take(client: Http2Client, site: Site) -> None:
    """CVE-2019-9517: wide windows of HTTP/2, and a TCP connection that nobody reads."""
    client.reads = False
    client.send(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}))
    client.window(0, 2**30)
    await client.ponged()
    client.writer.transport.pause_reading()
    for stream in range(1, 257, 2):
        client.request(stream, head(path=b"/large"))
    before = -1
    while site.sent != before:  # until nothing moves any more
        before = site.sent
        await asyncio.sleep(0.05)
    assert site.sent < 128 * 65536 + 16 * MB  # what the kernel takes is not the worker's


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(HeadersFrame(1, flags=["END_STREAM"]), id="HEADERS"),
        pytest.param(HeadersFrame(1, data=b"\x82\x86\x84"), id="begun HEADERS"),
    ],
)
async def test_continuations_of_nothing(client: Http2Client, first: Frame) -> None:
    """CVE-2019-9518: empty frames, of which DATA is held by `max_empty_frames`."""
    client.send(first)
    client.raw(ContinuationFrame(1).serialize() * 20)
    assert await client.gone() in (PROTOCOL_ERROR, CALM)
