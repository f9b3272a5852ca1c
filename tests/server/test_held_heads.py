"""Heads that are not complete and pipelined requests count against one bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.system.held_memory import UNCOUNTED, HeldMemory
from tests.server.serving import Client, Recorder, Served, answer, serving

MOST = 100_000
"""Bytes that may be held; a client's share for heads is the half of it."""
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n"
PART = GET[:-2] + b"X-Long: " + b"x" * 30_000
"""Of a head."""
REST = b"\r\n\r\n"


async def held(served: Served, size: int) -> None:
    """Until so many bytes are held."""
    async with asyncio.timeout(10):
        while served.edge.held.size != size:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def from_address(served: Served, address: str) -> Client:
    client = Client(
        *await asyncio.open_connection("127.0.0.1", served.port, local_addr=(address, 0))
    )
    served.clients.append(client)
    return client


async def test_heads_that_are_not_complete_have_a_bound() -> None:
    async with serving(Recorder()) as served:
        served.edge.held = HeldMemory(MOST)
        first, second, other = [await from_address(served, f"127.0.0.{n}") for n in (1, 1, 2)]
        first.send(PART)
        await held(served, counted := len(PART) - UNCOUNTED)
        second.send(PART)
        status, head, _ = await second.response()
        assert status == 503
        assert b"retry-after: 1\r\n" in head
        assert b"connection: close\r\n" in head
        other.send(PART)
        await held(served, 2 * counted)
        first.send(REST)
        assert (await first.response())[0] == 200
        await held(served, counted)
        first.send(GET)
        assert (await first.response())[0] == 200
        other.reset()
        await held(served, 0)


@pytest.mark.parametrize("tail", [b"", REST], ids=["incomplete", "complete"])
async def test_a_head_in_pieces_is_served_where_there_is_room(tail: bytes) -> None:
    async with serving(Recorder()) as served:
        served.edge.held = HeldMemory(2 * len(PART))
        client = await served.connect()
        for at in range(0, len(PART), 5_000):
            client.send(PART[at : at + 5_000])
            await held(served, max(0, min(at + 5_000, len(PART)) - UNCOUNTED))
        if tail:
            client.send(tail)
            assert (await client.response())[0] == 200
        else:
            client.end()
            assert await client.rest() == b""
        await held(served, 0)


async def test_small_heads_in_pieces_do_not_count() -> None:
    async with serving(Recorder()) as served:
        served.edge.held = HeldMemory(1)
        client = await served.connect()
        client.send(GET[:20])
        client.send(GET[20:] + GET)
        for _ in range(2):
            assert (await client.response())[0] == 200


@pytest.mark.parametrize(
    ("first", "body"),
    [(GET, b""), (PUT, b"x")],
)
@pytest.mark.parametrize("most", [MOST, 5_000])
async def test_pipelined_requests_have_a_bound(first: bytes, body: bytes, most: int) -> None:
    go = asyncio.Event()
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go.wait()
        await answer(send)

    later = 300 * GET
    async with serving(app) as served:
        served.edge.held = HeldMemory(most)
        client = await served.connect()
        client.send(first)
        if not body:
            await begun.wait()
        client.send(body + later)
        await begun.wait()
        await held(served, len(later) - UNCOUNTED) if most == MOST else await paused(served)
        go.set()
        status, head, _ = await client.response()
        assert status == 200
        if most == MOST:
            for _ in range(300):
                assert (await client.response())[0] == 200
        else:
            assert b"connection: close\r\n" in head
            assert await client.rest() == b""
        await held(served, 0)


async def paused(served: Served) -> None:
    """Until the server reads no more of its only connection."""
    async with asyncio.timeout(10):
        [connection] = served.edge.connections
        while not connection.read_paused:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)
