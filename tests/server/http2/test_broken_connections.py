"""What is left where a client breaks its connection: nothing begins, nothing is lost or logged."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hyperframe.frame import DataFrame, PingFrame

from tests.redis_servers import until
from tests.server.http2.frames import GET, POST, data, speaking
from tests.server.serving import Served, answer

CALM, PROTOCOL_ERROR = 11, 1
LARGE = 1 << 22


class Busy:
    """Counts; `/large` is a long answer, everything else waits for its client's end."""

    def __init__(self) -> None:
        self.begun = self.running = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        self.running += 1
        try:
            if scope["path"] == "/quick":
                await answer(send)
            elif scope["path"] == "/large":
                await answer(send, b"x" * LARGE)
            else:
                while (await receive())["type"] != "http.disconnect":
                    pass
        finally:
            self.running -= 1


def path(where: bytes, fields: list[tuple[bytes, bytes]] = GET) -> list[tuple[bytes, bytes]]:
    return [(name, where if name == b":path" else value) for name, value in fields]


@pytest.fixture
def app() -> Busy:
    return Busy()


async def test_nothing_begins_behind_the_frame_that_was_too_many(served: Served, app: Busy) -> None:
    async with speaking(served.port) as client:
        await client.ponged()
        ping = PingFrame(0, opaque_data=b"12345678").serialize()
        requests = b"".join(
            client.headers(n, GET, "END_STREAM").serialize() for n in range(1, 99, 2)
        )
        client.raw(ping * 600 + requests)
        assert await client.gone() == CALM
    assert app.begun == 0


async def test_the_window_of_uploads_that_were_reset_comes_back(served: Served, app: Busy) -> None:
    """More than the connection's window altogether; some of them never begin."""
    async with speaking(served.port) as client:
        for stream in range(1, 401, 2):
            client.send(client.headers(stream, POST))
            client.send(*(data(stream, b"x" * 16000) for _ in range(4)))
            client.reset(stream)
            await client.ponged()
        client.request(401, path(b"/quick"))
        assert (await client.answer(401)).status == 200
    assert app.begun >= 1
    await until(lambda: app.running == 0)


async def test_the_window_of_padding_comes_back(served: Served) -> None:
    async with speaking(served.port) as client:
        client.send(client.headers(1, POST))
        for _ in range(20):
            for _ in range(50):
                client.send(DataFrame(1, b"x", pad_length=250, flags=["PADDED"]))
            await client.ponged()
        client.request(3, path(b"/quick"))
        assert (await client.answer(3)).status == 200


async def test_a_broken_connection_whose_client_does_not_read(
    served: Served, app: Busy, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine is over before its GOAWAY can leave; answers that come then are lost quietly."""
    caplog.set_level(logging.INFO)
    async with speaking(served.port, reads=False, INITIAL_WINDOW_SIZE=2**30) as client:
        client.window(0, 2**30)
        await client.ponged()
        client.writer.transport.pause_reading()
        for stream in range(1, 41, 2):
            client.request(stream, path(b"/large"))
        client.request(41, GET)
        await until(lambda: app.begun == 21)
        [connection] = served.edge.connections
        await until(lambda: connection.write_paused)
        client.raw(b"\0\0\1\0\0\0\0\0\0x")  # DATA on stream 0
        for stream in range(43, 61, 2):
            client.request(stream, path(b"/quick"))
            await asyncio.sleep(0.01)
        client.writer.transport.resume_reading()
        await client.gone()
    await until(lambda: app.running == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
