"""gRPC over our listener with TLS, where ALPN chooses HTTP/2."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.grpc.calls import calling, service
from tests.redis_servers import RedisServer
from tests.tls.authority import AUTHORITY
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
