"""gRPC over our listener with TLS, and to backends with TLS: ALPN chooses HTTP/2."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc

from app.config.structs import parse
from app.main import create_app
from tests.grpc.calls import calling, service
from tests.redis_servers import RedisServer
from tests.serving import serving
from tests.tls.authority import AUTHORITY, chain, private
from tests.tls.serving import secured


async def test_calls_over_tls(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here, service() as (_, url):
        async with valkey.client as client:
            await client.rpush("frontend:default.test", "id", url)
        ca = AUTHORITY.cert_pem.bytes()
        async with calling(here.port, "default.test", ca=ca) as channel:
            unary = channel.unary_unary("/t.Service/Unary")
            calls = [unary(b"%d" % number) for number in range(300)]
            assert await asyncio.gather(*calls) == [b"%d" % number for number in range(300)]
            echoing = channel.stream_stream("/t.Service/Echoing")
            call = echoing(iter([b"a", b"b"]))
            assert [message async for message in call] == [b"a", b"b"]


async def test_calls_to_a_backend_with_tls(tmp_path: Path, valkey: RedisServer) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = AUTHORITY.issue_cert("127.0.0.1")
    shown = grpc.ssl_server_credentials([(private(certificate), chain(certificate))])
    file = {
        "driver": valkey.url,
        "server": {"accessLog": None, "snapshot": None},
        "http": {"http2": True},
        "backendTLS": {"ca": str(tmp_path / "ca.pem")},
        "admin": {"bind": None},
    }
    async with (
        service(shown) as (_, url),
        serving(create_app(parse(json.dumps(file)))) as port,
        valkey.client as client,
    ):
        await client.rpush("frontend:a.test", "id", url)
        await client.hset("options:a.test", "http2", "on")
        async with calling(port) as channel:
            unary = channel.unary_unary("/t.Service/Unary")
            calls = [unary(b"%d" % number) for number in range(100)]
            assert await asyncio.gather(*calls) == [b"%d" % number for number in range(100)]
            call = channel.stream_stream("/t.Service/Echoing")(iter([b"a", b"b"]))
            assert [message async for message in call] == [b"a", b"b"]
            refused = unary(b"", metadata=(("fail", "NOT_FOUND"),))
            assert await refused.code() is grpc.StatusCode.NOT_FOUND
