"""WebSockets on streams of HTTP/2 (RFC 8441), through the whole proxy to a real backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets
from hyperframe.frame import SettingsFrame
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Close, Frame, Opcode

from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.server.http2.frames import GET, Http2Client, data, speaking
from tests.serving import Proxy, proxying

CONNECT = [
    (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"),
    (b":authority", b"a.test"), (b":path", b"/chat?x=1"), (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"chat, other"), (b"origin", b"http://a.test"),
]  # fmt: skip


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey, http2=True) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Http2Client]:
    async with speaking(proxy.port) as client:
        await client.ponged()
        yield client


@asynccontextmanager
async def echoing(proxy: Proxy) -> AsyncIterator[list[ServerConnection]]:
    """A backend that returns every message; gives its connections."""
    connections: list[ServerConnection] = []

    async def echo(connection: ServerConnection) -> None:
        connections.append(connection)
        try:
            async for message in connection:
                await connection.send(message)
        except websockets.ConnectionClosedError:
            pass

    chat = [websockets.Subprotocol("chat")]
    async with serve(echo, "127.0.0.1", 0, subprotocols=chat, compression=None) as server:
        await proxy.route("a.test", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield connections


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    return Frame(opcode, payload).serialize(mask=True)


async def test_it_is_offered(client: Http2Client) -> None:
    assert client.settings[SettingsFrame.ENABLE_CONNECT_PROTOCOL] == 1


async def test_messages_pass_beside_requests(proxy: Proxy, client: Http2Client) -> None:
    async with echoing(proxy) as backend:
        client.send(client.headers(1, CONNECT))
        await client.until(lambda: client.of(1).fields)
        got = client.of(1)
        assert (got.status, got.get(b"sec-websocket-protocol")) == (200, b"chat")
        names = {name for name, _ in got.fields}
        assert names.isdisjoint({b"connection", b"upgrade", b"sec-websocket-accept"})
        request = backend[0].request
        assert request is not None
        assert (request.path, request.headers["Origin"]) == ("/chat?x=1", "http://a.test")
        client.send(data(1, frame(b"hello")))
        await client.until(lambda: got.body == Frame(Opcode.BINARY, b"hello").serialize(mask=False))
        client.send(data(1, frame(Close(1000, "").serialize(), Opcode.CLOSE)))
        await client.until(lambda: got.ended)
        await backend[0].wait_closed()
        assert backend[0].close_code == 1000


async def test_large_messages_pass_at_the_clients_pace(proxy: Proxy, client: Http2Client) -> None:
    async with echoing(proxy):
        client.send(client.headers(1, CONNECT))
        await client.until(lambda: client.of(1).fields)
        payload = bytes(range(256)) * 2048
        await client.upload(1, frame(payload), end=False)
        expected = Frame(Opcode.BINARY, payload).serialize(mask=False)
        await client.until(lambda: len(client.of(1).body) >= len(expected))
        assert client.of(1).body == expected
        client.reset(1)  # the backend's server waits for the end of its sessions


async def test_a_client_that_resets_ends_the_backends_session(
    proxy: Proxy, client: Http2Client
) -> None:
    async with echoing(proxy) as backend:
        client.send(client.headers(1, CONNECT))
        await client.until(lambda: client.of(1).fields)
        client.reset(1)
        await backend[0].wait_closed()
        await client.ponged()  # the connection goes on


async def test_a_backend_that_vanishes_ends_the_stream(proxy: Proxy, client: Http2Client) -> None:
    async with echoing(proxy) as backend:
        client.send(client.headers(1, CONNECT))
        await client.until(lambda: client.of(1).fields)
        backend[0].transport.abort()
        await client.until(lambda: client.of(1).ended or client.of(1).reset is not None)
        said = Frame(Opcode.CLOSE, Close(1014, "").serialize()).serialize(mask=False)
        assert client.of(1).body == said


async def test_a_refusal_is_an_ordinary_answer(proxy: Proxy, client: Http2Client) -> None:
    async with answering(answer(b"no", b"X-A: 1", status=b"403 Forbidden")) as backend:
        await proxy.route("a.test", backend)
        client.send(client.headers(1, CONNECT))
        got = await client.answer(1)
        assert (got.status, got.body, got.get(b"x-a")) == (403, b"no", b"1")


async def test_no_site_is_our_own_answer(client: Http2Client) -> None:
    client.send(client.headers(1, CONNECT))
    assert (await client.answer(1)).status == 400


async def test_other_protocols_are_not_served(client: Http2Client) -> None:
    client.send(client.headers(1, [*CONNECT[:1], (b":protocol", b"ftp"), *CONNECT[2:]]))
    assert (await client.answer(1)).status == 501


async def test_an_idle_session_outlives_the_time_for_bodies(valkey: RedisServer) -> None:
    async with (
        proxying(valkey, http2=True, tcpTimeout=0.1) as proxy,
        echoing(proxy),
        speaking(proxy.port) as client,
    ):
        client.send(client.headers(1, CONNECT))
        await client.until(lambda: client.of(1).fields)
        client.send(client.headers(3, [*GET, (b"x", b"1")]))
        assert (await client.answer(3)).status in {408, 502, 504}  # the sweep has looked
        client.send(data(1, frame(b"hello")))
        await client.until(lambda: client.of(1).body)


async def test_the_relay_has_no_tunnel_to_offer(valkey: RedisServer) -> None:
    async with (
        proxying(valkey, http2=True, webSocketRelay=True) as proxy,
        speaking(proxy.port) as client,
    ):
        await client.ponged()
        assert client.settings[SettingsFrame.ENABLE_CONNECT_PROTOCOL] == 0
