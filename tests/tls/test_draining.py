"""A worker that drains finishes requests over TLS, and handshakes that have begun."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from tests.redis_servers import RedisServer
from tests.tls.authority import trusting
from tests.tls.serving import secured


async def test_a_drain_waits_for_tls_and_lets_nobody_in(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", here.port, ssl=trusting(), server_hostname="a.test"
        )
        here.service.signal(signal.SIGTERM)
        await here.service.saw("worker draining")
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await reader.read()).endswith(b"hi")
        writer.transport.abort()
        assert await here.service.ended() == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", here.port)) != 0


async def test_a_drain_waits_for_a_handshake_that_has_begun(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
        end = trusting().wrap_bio(down, up, server_hostname="a.test")
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
        writer.write(up.read())
        down.write(await reader.read(65536))
        here.service.signal(signal.SIGTERM)
        await here.service.saw("worker draining")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.service.process.wait(), 0.5)
        while True:
            try:
                end.do_handshake()
                break
            except ssl.SSLWantReadError:
                down.write(await reader.read(65536))
        end.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        writer.write(up.read())
        down.write(await reader.read())
        assert end.read(65536).endswith(b"hi")
        writer.transport.abort()
        assert await here.service.ended() == 0
