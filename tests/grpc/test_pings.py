"""Our PINGs to a server of grpcio, which ends a connection that has too many, and its clients'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import pytest

from app.upstream.http2 import heartbeat
from tests.grpc.calls import calling, service
from tests.redis_servers import RedisServer
from tests.serving import proxying

PING, GOAWAY = 6, 7
PREFACE = 24


@dataclass
class Relay:
    """A TCP relay before a server: which frames have passed, by their types."""

    port: int = 0

    def __post_init__(self) -> None:
        self.pings = 0
        self.goaways = 0
        self.changed = asyncio.Event()

    def pinged(self, kind: int, flags: int) -> None:
        if kind == PING and not flags & 1:
            self.pings += 1
            self.changed.set()

    def said(self, kind: int, flags: int) -> None:
        self.goaways += kind == GOAWAY
        self.changed.set()

    async def another_ping(self) -> None:
        before = self.pings
        async with asyncio.timeout(20):
            while self.pings == before:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def relaying(port: int) -> AsyncIterator[Relay]:
    relay = Relay()
    ends: list[asyncio.StreamWriter] = []

    async def pass_on(reader, writer, on_frame, skip: int) -> None:
        try:
            writer.write(await reader.readexactly(skip))
            while True:
                head = await reader.readexactly(9)
                writer.write(head + await reader.readexactly(int.from_bytes(head[:3], "big")))
                on_frame(head[3], head[4])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, to_server[1]))
        await asyncio.gather(
            pass_on(reader, to_server[1], relay.pinged, PREFACE),
            pass_on(to_server[0], writer, relay.said, 0),
        )

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for end in ends:
            end.transport.abort()


async def test_a_server_of_grpcio_gets_no_ping_too_many(valkey: RedisServer) -> None:
    """It counts those that come within 5 minutes and without data of its own; the third ends it."""
    async with (
        service() as (_, url),
        relaying(int(url.rpartition(":")[2])) as relay,
        proxying(valkey, http2=True, backendPing=0.05) as proxy,
        calling(proxy.port) as channel,
    ):
        await proxy.route("a.test", f"h2c://127.0.0.1:{relay.port}")
        call = channel.stream_stream("/t.Service/Echoing")()
        for _ in range(5):  # each answer allows one PING more
            await call.write(b"x")
            assert await call.read() == b"x"
            await relay.another_ping()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        assert relay.goaways == 0


@pytest.mark.parametrize("pings", [1, pytest.param(10, marks=pytest.mark.long)])
async def test_a_client_of_grpcio_may_ask_whether_we_are_there(
    valkey: RedisServer, pings: int
) -> None:
    """With a call and without one; grpcio asks once a second at most, however often it is told to.
    What a client hears that sends more is in tests/server/http2/test_floods."""
    options = [
        ("grpc.keepalive_time_ms", 20),
        ("grpc.keepalive_timeout_ms", 60_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        service() as (_, url),
        proxying(valkey, http2=True) as proxy,
        relaying(proxy.port) as relay,
        calling(relay.port, more=options) as channel,
    ):
        await proxy.route("a.test", url)
        call = channel.unary_stream("/t.Service/Waiting")(b"")
        assert await call.read() == b"begun"
        for _ in range(pings):
            await relay.another_ping()
        call.cancel()
        for _ in range(pings):
            await relay.another_ping()
        assert await channel.unary_unary("/t.Service/Unary")(b"next") == b"next"
        assert relay.goaways == 0


@pytest.mark.long
async def test_with_shorter_pauses_it_would_end_the_connection(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BETWEEN", 0.05)
    async with (
        service() as (_, url),
        relaying(int(url.rpartition(":")[2])) as relay,
        proxying(valkey, http2=True, backendPing=0.05) as proxy,
        calling(proxy.port) as channel,
    ):
        await proxy.route("a.test", f"h2c://127.0.0.1:{relay.port}")
        call = channel.unary_stream("/t.Service/Waiting")(b"")
        assert await call.read() == b"begun"
        async with asyncio.timeout(20):
            while not relay.goaways:
                relay.changed.clear()
                await relay.changed.wait()
        assert relay.pings >= 3
        call.cancel()
