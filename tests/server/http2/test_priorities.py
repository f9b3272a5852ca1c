"""What a client says of its priorities decides whose bytes leave first (RFC 9218)."""

from __future__ import annotations

import struct
from typing import Any

from tests.server.http2.frames import Http2Client, head, speaking
from tests.server.serving import serving

PIECE = 32768


async def endless(_: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


def update(stream: int, value: bytes) -> bytes:
    """A PRIORITY_UPDATE frame (RFC 9218 §7.1)."""
    payload = struct.pack(">I", stream) + value
    return len(payload).to_bytes(3, "big") + b"\x10\0\0\0\0\0" + payload


async def given(client: Http2Client, size: int) -> tuple[int, int]:
    """Open the connection's window; how much of it each of the two streams gets."""
    before = len(client.of(1).body), len(client.of(3).body)
    client.window(0, size)
    await client.until(
        lambda: len(client.of(1).body) + len(client.of(3).body) == sum(before) + size
    )
    return len(client.of(1).body) - before[0], len(client.of(3).body) - before[1]


async def test_the_more_urgent_stream_goes_first() -> None:
    async with serving(endless, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port, reads=False, INITIAL_WINDOW_SIZE=2**24) as client:
            client.request(1, [*head(), (b"priority", b"u=6")])
            await client.until(lambda: len(client.of(1).body) == 65535)
            client.request(3, [*head(), (b"priority", b"u=1")])
            await client.until(lambda: client.of(3).fields)
            assert await given(client, PIECE) == (0, PIECE)
            client.raw(update(1, b"u=0"))
            await client.ponged()
            assert await given(client, PIECE) == (PIECE, 0)
