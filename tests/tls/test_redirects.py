"""From http to https: redirects and Strict-Transport-Security."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.redis_servers import RedisServer
from tests.tls.serving import secured


async def test_http_is_sent_to_https_where_it_shall(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey, redirect=True, hsts=60) as here:
        reply = (await here.service.ask(target="/x?y")).lower()
        assert reply.startswith(b"http/1.1 308 ")
        assert b"\r\nlocation: https://a.test/x?y\r\n" in reply
        challenge = await here.service.ask(target="/.well-known/acme-challenge/token")
        assert challenge.endswith(b"hi")
        assert b"strict-transport-security" not in challenge.lower()
        assert b"\r\nstrict-transport-security: max-age=60\r\n" in (await here.get()).lower()


async def test_a_frontend_may_have_its_own_word_on_https(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here, valkey.client as client:
        assert (await here.service.ask()).endswith(b"hi")
        await client.hset("options:a.test", mapping={"redirect": "on", "hsts": "5"})
        async with asyncio.timeout(10):
            while not (await here.service.ask()).startswith(b"HTTP/1.1 308 "):
                pass
        assert b"strict-transport-security: max-age=5\r\n" in (await here.get()).lower()
