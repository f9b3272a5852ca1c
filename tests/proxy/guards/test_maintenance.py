"""A site that is shut for a while, whichever way a request goes."""

from __future__ import annotations

import asyncio

import pytest

from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")


async def shut(proxy: Proxy, **options: str) -> None:
    async with proxy.valkey.client as redis:
        await redis.hset("options:a.test", mapping=options)


async def test_visitors_get_a_page_and_no_backend_is_asked(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(answer(b"the site")) as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        await shut(proxy, maintenance="Back at <noon>", maintenanceRetry="7200")
        page = await proxy.talk(b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\n\r\n")
        head, _, body = page.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 7200" in head
        assert b"<h1>This site is down for maintenance</h1>" in body
        assert b"Back at &lt;noon&gt;" in body
        handshake = (
            b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        client = await proxy.connect()
        client.send(handshake)
        assert b" 503 " in await client.until(b"\r\n\r\n")
        assert backend.requests == []
        await shut(proxy, maintenance="off")

        async with asyncio.timeout(20):
            while b"the site" not in await proxy.get():
                pass
    assert "request failed" not in caplog.text


async def test_the_owners_see_the_site(valkey: RedisServer) -> None:
    async with (
        answering(answer(b"the site")) as backend,
        proxying(valkey, trustedProxies=["127.0.0.1"]) as proxy,
    ):
        await proxy.route("a.test", backend)
        await shut(proxy, maintenance="on", maintenanceAllow="192.0.2.0/24", deny="192.0.2.9")
        for address, status in (("192.0.2.7", 200), ("198.51.100.1", 503), ("192.0.2.9", 403)):
            got = await proxy.talk(
                f"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {address}\r\n\r\n".encode()
            )
            assert int(got.split()[1]) == status
