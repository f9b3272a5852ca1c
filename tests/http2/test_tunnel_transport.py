"""A stream as a transport: what came before an end is read before it, as from a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.http2.tunnel_transport import TunnelTransport


class Stream:
    """The stream below, of which nothing is sent."""

    full = False

    def __init__(self) -> None:
        self.said: list[str] = []

    def send_body(self, data: bytes, more: bool) -> None:
        self.said.append("more" if more else "end")

    def queued(self) -> int:
        return 0

    def resume(self) -> None:
        self.said.append("resume")

    def reset_now(self, code: object) -> None:
        self.said.append("reset")


class Reader(asyncio.Protocol):
    """Stops reading after each piece."""

    def __init__(self, transport: TunnelTransport) -> None:
        self.transport = transport
        self.heard: list[bytes | str] = []
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self.transport.pause_reading()

    def eof_received(self) -> None:
        self.heard.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")
        self.over.set()


@pytest.mark.parametrize(
    ("end", "heard"),
    [(TunnelTransport.ended, ["eof", "lost"]), (TunnelTransport.lost, ["lost"])],
    ids=["end", "reset"],
)
@pytest.mark.parametrize("joined", [True, False], ids=["joined", "not joined yet"])
async def test_what_came_is_read_before_the_end(
    end: Callable[[TunnelTransport], None], heard: list[str], joined: bool
) -> None:
    stream = Stream()
    transport = TunnelTransport(stream, asyncio.Transport())
    reader = Reader(transport)
    if joined:
        transport.set_protocol(reader)
    transport.received(b"one")
    transport.received(b"two")
    end(transport)
    assert not transport.is_closing()
    transport.set_protocol(reader)
    transport.resume_reading()
    assert reader.heard == [b"one"]
    assert "resume" not in stream.said  # so the sender's window stays small
    transport.resume_reading()
    await reader.over.wait()
    assert reader.heard == [b"one", b"two", *heard]
    assert transport.is_closing()


async def test_nobody_reads_on_after_our_own_end() -> None:
    stream = Stream()
    transport = TunnelTransport(stream, asyncio.Transport())
    reader = Reader(transport)
    transport.set_protocol(reader)
    transport.received(b"one")
    transport.close()
    transport.received(b"two")
    assert stream.said == ["end", "resume"]  # others need the connection's window
    await reader.over.wait()
    assert reader.heard == ["lost"]
