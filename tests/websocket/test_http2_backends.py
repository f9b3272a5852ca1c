"""WebSockets to backends that speak HTTP/2 (RFC 8441), and to those that take none over it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from msgspec.structs import replace
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from app.config.backend_tls import BackendTLS
from app.main import create_app
from tests.hypercorn_server import hypercorn
from tests.redis_servers import RedisServer
from tests.server.http2.frames import data, speaking
from tests.server.http2.test_web_sockets import CONNECT, frame
from tests.serving import config_of, serving
from tests.upstream.http2.backend import Asked, Http2Backend, Link, speaking_http2
from tests.websocket.peers import Wire, after_handshake
from tests.websocket.serving import proxying

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")
HTTP2_ON = {"http2": "on"}
PART = bytes(range(256)) * 16


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


class Echo:
    """Opens every WebSocket and says back what it hears; it agrees to a close."""

    def __init__(
        self, backend: Http2Backend, *fields: tuple[bytes, bytes], answers: bool = True
    ) -> None:
        self.fields, self.answers = fields, answers
        self.heard = bytearray()
        self._peers: dict[int, ServerProtocol] = {}
        backend.tunnels = True
        backend.on_request, backend.on_data = self._open, self._hear
        backend.on_end = lambda asked: None

    def _open(self, asked: Asked) -> None:
        self._peers[id(asked)] = ServerProtocol(state=OPEN, max_size=None)
        asked.head(*self.fields)

    def _hear(self, asked: Asked, data: bytes) -> None:
        peer = self._peers[id(asked)]
        peer.receive_data(data)
        for event in peer.events_received():
            if isinstance(event, Request) or event.opcode is Opcode.CLOSE:
                continue
            self.heard += event.data
            if self.answers:
                peer.send_binary(event.data)
        for said in peer.data_to_send():
            asked.body_part(said, end=not said)


@asynccontextmanager
async def echoing(*fields: tuple[bytes, bytes], **options: Any) -> AsyncIterator[Http2Backend]:
    async with speaking_http2(**options) as backend:
        Echo(backend, *fields)
        yield backend


async def say_back(wire: Wire) -> None:
    opcode = None
    while opcode is not Opcode.CLOSE:
        opcode, payload, *_ = await wire.read_frame()
        wire.frame(opcode, payload)


@asynccontextmanager
async def either(*protocols: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A backend with TLS: HTTP/2 without WebSockets, HTTP/1.1 with them; the first of `protocols`
    that is offered. Gives its URL, and what was chosen for each connection."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(tls)
    tls.set_alpn_protocols(list(protocols))
    chosen: list[str] = []
    http2, loop = Http2Backend(100), asyncio.get_running_loop()

    async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await after_handshake(say_back)(Wire(reader, writer, mask=False))
        writer.close()

    class Choice(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            chosen.append(transport.get_extra_info("ssl_object").selected_alpn_protocol())
            protocol: asyncio.Protocol = Link(http2)
            if chosen[-1] != "h2":
                protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), http1)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)

    server = await loop.create_server(Choice, "127.0.0.1", 0, ssl=tls)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", chosen
    server.close()
    await server.wait_closed()


def open_and(backend: Http2Backend, *, end: bool) -> None:
    """Open each WebSocket, say one message, and end without a close frame."""

    def script(asked: Asked) -> None:
        asked.head()
        asked.body_part(Frame(Opcode.BINARY, PART).serialize(mask=False), end=end)
        if not end:
            asked.reset_by(2)

    backend.tunnels, backend.on_request = True, script


async def chat(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application for a server of its own."""
    while True:
        message = await receive()
        if scope["type"] == "lifespan":
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
        elif message["type"] == "websocket.connect":
            headers = [(b"x-version", scope["http_version"].encode())]
            await send({"type": "websocket.accept", "subprotocol": "chat", "headers": headers})
        elif message["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        else:
            return


@asynccontextmanager
async def chatting(folder: Path, *, tls: bool) -> AsyncIterator[str]:
    """The URL of `chat` under a server of its own."""
    certificate = folder / "cert.pem" if tls else None
    if certificate is not None:
        CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(certificate)
    async with hypercorn(chat, certificate=certificate) as port:
        yield f"{'https' if tls else 'h2c'}://127.0.0.1:{port}"


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "TLS"])
async def test_a_real_server(mode: str, tls: bool, ca: str, tmp_path: Path) -> None:
    async with (
        chatting(tmp_path, tls=tls) as url,
        proxying(
            url, mode=mode, backend_ca=ca, options=HTTP2_ON,
            webSocketCloseTimeout=0.1,  # it does not end its streams
        ) as proxy,
    ):  # fmt: skip
        async with proxy.connect("/chat", subprotocols=["chat"]) as client:
            assert client.response is not None
            assert client.response.headers["X-Version"] == "2"
            assert client.subprotocol == "chat"
            for message in ("hello", PART * 32, "z" * 100000):
                await client.send(message)
                assert await client.recv() == message
        record = await proxy.records.get()
    assert (record.status, record.close_code, record.closed_by) == (101, 1000, "client")
    assert (record.messages_in, record.messages_out, record.backend) == (3, 3, url)


async def test_the_handshake_is_an_extended_connect(mode: str) -> None:
    async with echoing((b"sec-websocket-protocol", b"chat")) as backend:
        async with (
            proxying(backend.url, mode=mode) as proxy,
            proxy.connect("/a%2Fb?c", subprotocols=["chat", "other"]) as client,
        ):
            assert client.subprotocol == "chat"
        [asked] = backend.requests
        assert asked.fields[:5] == [
            (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"),
            (b":authority", b"ws.test"), (b":path", b"/a%2Fb?c"),
        ]  # fmt: skip
        names = {name for name, _ in asked.fields}
        assert names.isdisjoint({b"host", b"connection", b"upgrade", b"sec-websocket-key"})
        assert asked.get(b"sec-websocket-version") == b"13"
        assert asked.get(b"x-forwarded-for") == b"127.0.0.1"
        await backend.until(lambda: backend.links[0].closed)


async def test_each_has_a_connection_of_its_own(mode: str) -> None:
    async with (
        echoing() as backend,
        proxying(backend.url, mode=mode) as proxy,
        proxy.connect() as one,
        proxy.connect() as other,
    ):
        backend.links[0].transport.abort()
        with pytest.raises(ConnectionClosedError):
            await one.recv()
        await other.send(b"hello")
        assert await other.recv() == b"hello"


@pytest.mark.parametrize("end", [True, False], ids=["end", "reset"])
async def test_what_came_before_the_end_is_not_lost(mode: str, end: bool) -> None:
    async with speaking_http2() as backend, proxying(backend.url, mode=mode) as proxy:
        open_and(backend, end=end)
        wire = await proxy.open()
        got = await wire.read_frame()
        assert (got.opcode, got.data) == (Opcode.BINARY, PART)
        assert await wire.read_close() == (1014, "")
        wire.reset()
        record = await proxy.records.get()
    assert record.close_code in {1006, 1014}
    assert record.closed_by == "backend"


async def test_a_slow_backend_sets_the_pace_and_gets_everything(mode: str) -> None:
    async with speaking_http2() as backend, proxying(backend.url, mode=mode) as proxy:
        backend.reads, heard = False, Echo(backend, answers=False).heard
        wire = await proxy.open()
        sent = Frame(Opcode.BINARY, PART * 256).serialize(mask=True)
        wire.write(sent)
        await backend.until(lambda: len(backend.requests[0].body) >= 65535)
        wire.close_frame(1000)
        asked, backend.reads = backend.requests[0], True
        asked.link.say(asked.link.engine.acknowledge_received_data, len(asked.body), asked.number)
        await backend.until(lambda: len(heard) == len(PART) * 256)
        assert bytes(heard) == PART * 256
        await backend.until(lambda: asked.ended or asked.reset is not None)


async def test_a_slow_client_sets_the_pace(mode: str) -> None:
    async with echoing() as backend, proxying(backend.url, mode=mode) as proxy:
        wire = await proxy.open()
        [asked] = backend.requests
        left = [Frame(Opcode.BINARY, PART).serialize(mask=False)] * 1000
        window = asked.link.engine.local_flow_control_window

        def have_left() -> bool:
            while left and window(asked.number) >= len(left[0]):
                asked.body_part(left.pop())
            return not left

        assert not have_left()
        leaving = asyncio.create_task(backend.until(have_left))
        for _ in range(1000):
            assert (await wire.read_frame()).data == PART
        await leaving
        wire.close_frame(1000)
        assert await wire.read_close() == (1000, "")


async def test_a_refusal_is_the_backends_answer(mode: str) -> None:
    async with speaking_http2() as backend, proxying(backend.url, mode=mode) as proxy:
        backend.tunnels = True

        def refuse(asked: Asked) -> None:
            asked.head((b"x-a", b"1"), status=403)
            asked.body_part(b"no", end=True)

        backend.on_request = refuse
        with pytest.raises(InvalidStatus) as caught:
            await proxy.connect()
        response = caught.value.response
        assert (response.status_code, response.body) == (403, b"no")
        assert response.headers["X-A"] == "1"
        await backend.until(lambda: backend.links[0].closed)


async def test_a_backend_without_them_answers_502_and_says_why(mode: str) -> None:
    async with speaking_http2() as backend, proxying(backend.url, mode=mode) as proxy:
        for _ in range(2):
            with pytest.raises(InvalidStatus) as caught:
                await proxy.connect(additional_headers={"Accept": "application/json"})
            assert caught.value.response.status_code == 502
            assert b"takes no WebSockets over HTTP/2" in (caught.value.response.body or b"")
            assert "ENABLE_CONNECT_PROTOCOL" in (await proxy.records.get()).error
        assert len(backend.links) == 1  # it was not asked again
        assert proxy.routes.marked == []


async def test_without_them_https_gets_http1_beside_http2(mode: str, ca: str) -> None:
    async with either("h2", "http/1.1") as (url, links):
        async with proxying(url, mode=mode, backend_ca=ca, options=HTTP2_ON) as proxy:
            for _ in range(2):
                async with proxy.connect() as client:
                    await client.send(b"hello")
                    assert await client.recv() == b"hello"
        assert links == ["h2", "http/1.1", "http/1.1"]


async def test_a_backend_that_chooses_http1_is_connected_to_once(mode: str, ca: str) -> None:
    async with either("http/1.1") as (url, links):
        async with (
            proxying(url, mode=mode, backend_ca=ca, options=HTTP2_ON) as proxy,
            proxy.connect() as client,
        ):
            await client.send(b"hello")
            assert await client.recv() == b"hello"
        assert links == ["http/1.1"]


async def test_a_client_that_leaves_within_the_handshake_leaves_nothing(mode: str) -> None:
    async with speaking_http2() as backend, proxying(backend.url, mode=mode) as proxy:
        backend.tunnels = True
        wire = await proxy.ask()
        await backend.until(lambda: backend.requests)
        wire.reset()
        await backend.until(lambda: backend.links[0].closed)


async def test_no_answer_in_time_is_a_504(mode: str) -> None:
    async with (
        speaking_http2() as backend,
        proxying(backend.url, mode=mode, responseTimeout=0.1, retryOnError=0) as proxy,
    ):
        backend.tunnels = True
        wire = await proxy.ask()
        assert b" 504 " in await wire.read_head()
        await backend.until(lambda: backend.links[0].closed)


async def test_a_backend_that_never_ends_is_left_behind(mode: str) -> None:
    async with speaking_http2() as backend, proxying(backend.url, mode=mode) as proxy:
        backend.tunnels = True
        backend.on_request, backend.on_end = Asked.head, lambda asked: None
        wire = await proxy.open()
        wire.reset()
        await backend.until(lambda: backend.links[0].closed)


@pytest.mark.parametrize("kind", ["h2c", "h2c+unix", "TLS"])
async def test_from_http2_to_http2(valkey: RedisServer, kind: str, ca: str, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(tls)
    tls.set_alpn_protocols(["h2"])
    where = {"h2c": {}, "h2c+unix": {"path": tmp_path / "socket"}, "TLS": {"tls": tls}}[kind]
    config = replace(config_of(valkey, http2=True), backend_tls=BackendTLS(ca=ca))
    async with (
        serving(create_app(config)) as port,
        echoing(**where) as backend,
        speaking(port) as client,
        valkey.client as redis,
    ):
        await redis.rpush("frontend:a.test", "the-site", backend.url)
        await redis.hset("options:a.test", mapping=HTTP2_ON)
        client.send(client.headers(1, CONNECT))
        await client.until(lambda: client.of(1).fields)
        assert client.of(1).status == 200
        client.send(data(1, frame(b"hello")))
        said = Frame(Opcode.BINARY, b"hello").serialize(mask=False)
        await client.until(lambda: client.of(1).body == said)
        client.send(data(1, frame(Close(1000, "").serialize(), Opcode.CLOSE), end=True))
        await client.until(lambda: client.of(1).ended)
        assert backend.requests[0].get(b":protocol") == b"websocket"
