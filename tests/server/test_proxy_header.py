"""The PROXY protocol: who is believed, and what is taken for a header."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fields.networks import Networks
from app.server.client_connection import ClientConnection
from app.server.proxy_header import SIGNATURE, Claim, Incomplete, ProxyHeader, parse
from tests.backends import ScriptedBackend, answer, answering
from tests.processes import Service, command, write_config
from tests.redis_servers import RedisServer
from tests.server.serving import send_and_reset
from tests.tls.authority import DEFAULT, write

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 8080\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def inet6(*addresses: str) -> bytes:
    return b"".join(socket.inet_pton(socket.AF_INET6, address) for address in addresses)


IPV6 = v2(0x21, 0x21, inet6("2001:db8::1", "2001:db8::2") + struct.pack("!HH", 4711, 80))


@pytest.mark.parametrize(
    ("header", "claim"),
    [
        (V1, (("192.0.2.7", 4711), ("198.51.100.1", 8080))),
        (b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", (("2001:db8::1", 1), ("::1", 2))),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (v2(0x20, 0, b""), None),
        (v2(0x21, 0x31, bytes(216)), None),
        (IPV6, (("2001:db8::1", 4711), ("2001:db8::2", 80))),
        (v2(0x21, 0x11, bytes([192, 0, 2, 7, 1, 2, 3, 4, 0, 9, 0, 80]) + b"\x04\0\x01x"),
         (("192.0.2.7", 9), ("1.2.3.4", 80))),
    ],
)  # fmt: skip
def test_a_header_says_who_connects_and_what_follows_it_is_kept(
    header: bytes, claim: Claim
) -> None:
    assert parse(header + b"GET") == (claim, b"GET")
    for end in range(1, len(header)):
        with pytest.raises(Incomplete):
            parse(header[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 80\r\n",
        b"PROXY TCP9 192.0.2.7 198.51.100.1 4711 80\r\n",
        b"PROXY TCP4 \xff 198.51.100.1 4711 80\r\n",
        b"PROXY " + b"x" * 102,
        v2(0x31, 0x11, bytes(12)),
        v2(0x22, 0x11, bytes(12)),
        v2(0x21, 0x11, bytes(11)),
        v2(0x21, 0x12, bytes(12)),
        v2(0x21, 0x11, bytes(4097)),
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data)


@given(st.binary(max_size=64), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]))
def test_no_bytes_break_the_parser(data: bytes, start: bytes) -> None:
    with suppress(Incomplete, ValueError):
        parse(start + data)


@asynccontextmanager
async def proxied(
    folder: Path, valkey: RedisServer, trusted: list[str], **sections: Any
) -> AsyncIterator[tuple[Service, ScriptedBackend]]:
    path = write_config(folder, valkey.url, workers=1, trustedProxies=trusted)
    bind = [{"address": "127.0.0.1", "proxyProtocol": True}]
    values = json.loads(path.read_text()) | {"http": {"port": 0, "bind": bind}} | sections
    path.write_text(json.dumps(values))
    async with (
        command("app.cli", "serve", cwd=folder) as service,
        answering(answer(b"hi")) as backend,
    ):
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        await service.ready(1)
        yield service, backend


async def say(service: Service, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_trusted_balancer_tells_who_its_client_is(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with proxied(tmp_path, valkey, ["127.0.0.0/8"]) as (service, backend):
        for header in (V1, IPV6, v2(0x20, 0, b"")):
            assert (await say(service, header[:9], header[9:] + REQUEST)).endswith(b"hi")
        assert [request.get(b"x-forwarded-for") for request in backend.requests] == [
            b"192.0.2.7", b"2001:db8::1", b"127.0.0.1",
        ]  # fmt: skip
        assert backend.requests[0].get(b"x-forwarded-port") == b"8080"
        assert await say(service, REQUEST) == b""


async def test_nobody_else_may_claim_an_address(tmp_path: Path, valkey: RedisServer) -> None:
    async with proxied(tmp_path, valkey, ["192.0.2.0/24"]) as (service, backend):
        assert await say(service, V1 + REQUEST) == b""
        await service.saw("PROXY header refused.*trustedProxies")
        assert backend.requests == []


async def test_nobody_else_may_claim_an_address_by_leaving_at_once() -> None:
    """Whose connection has been reset already has no address, which is no unix socket's mark."""
    lost = asyncio.Event()

    class Watched(ProxyHeader):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    def make() -> ClientConnection:
        raise AssertionError("it was believed")

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Watched(make, Networks.parse(["192.0.2.0/24"])), "127.0.0.1", 0
    )
    failures: list[Any] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    async with server:
        send_and_reset(server.sockets[0].getsockname()[1], V1 + REQUEST)
        await lost.wait()
    assert failures == []


async def test_a_reload_lets_nobody_talk_past_the_header(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write(tmp_path, "default", DEFAULT)
    tls = {"bind": "127.0.0.1", "port": 0, "key": "default.key", "cert": "default.crt"}
    async with proxied(tmp_path, valkey, ["192.0.2.0/24"], https=tls) as (service, backend):
        path = tmp_path / "config.json"
        values = json.loads(path.read_text())
        values["server"]["trustedProxies"] = ["127.0.0.0/8"]
        values["https"]["honorCipherOrder"] = False
        path.write_text(json.dumps(values))
        service.signal(signal.SIGHUP)
        await service.saw("worker ended")
        assert (await say(service, V1 + REQUEST)).endswith(b"hi")
        assert await say(service, REQUEST) == b""
        assert [request.get(b"x-forwarded-for") for request in backend.requests] == [b"192.0.2.7"]


async def test_a_drain_waits_for_a_header_that_has_begun(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with proxied(tmp_path, valkey, ["127.0.0.0/8"]) as (service, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(V1[:9])
        assert (await say(service, V1 + REQUEST)).endswith(b"hi")  # so the first is accepted, too
        service.signal(signal.SIGTERM)
        await service.saw("worker draining")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.process.wait(), 0.5)
        writer.write(V1[9:] + REQUEST)
        assert (await reader.read()).endswith(b"hi")
        writer.transport.abort()
        assert await service.ended() == 0
