"""Connections that bring no handshake: silence, nonsense, and no file left for them."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
from pathlib import Path

import psutil
import pytest

from app.server.acceptor import TLSAcceptor
from app.server.client_connection import ClientConnection
from app.server.edge import ClientLimits, Edge
from tests.redis_servers import RedisServer
from tests.tls.serving import secured


@pytest.mark.parametrize("limit", ["maxConnections", "maxConnectionsPerAddress"])
async def test_who_says_nothing_instead_of_a_handshake_is_counted(
    tmp_path: Path, valkey: RedisServer, limit: str
) -> None:
    async with secured(tmp_path, valkey, server={limit: 5}) as here:
        silent = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(5)]
        with pytest.raises(ConnectionError):
            await here.get()
        # Over plain HTTP they are in the way as well, and that can be said.
        assert (await here.service.ask()).startswith(b"HTTP/1.1 503 ")
        for _, writer in silent:
            writer.transport.abort()
        async with asyncio.timeout(10):
            while not (await here.service.ask()).startswith(b"HTTP/1.1 200 "):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await here.get()).startswith(b"HTTP/1.1 200 ")
        here.service.signal(signal.SIGTERM)
        await here.service.ended()
    said = [line for line in here.service.log if "refusing connections" in line]
    assert len(said) == 1
    assert "open=6" in said[0]


async def test_a_worker_without_files_left_pauses_and_goes_on(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """More connections are allowed here than there are files: the fault of who configured it."""
    async with secured(tmp_path, valkey, server={"maxConnections": 1000}) as here:
        worker = here.service.workers()[0]
        files = psutil.Process(worker).num_fds()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (files + 20, files + 20))
        silent = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(40)]
        await here.service.saw('"cannot accept connections" cause="Too many open files"')
        for _, writer in silent:
            writer.transport.abort()
        assert (await here.get()).startswith(b"HTTP/1.1 200 ")


async def test_nonsense_in_place_of_a_handshake_ends_the_connection(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.transport.abort()
        assert (await here.get()).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_without_settings_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a defect raises where they are made: nothing counts as open afterwards."""

    def broken() -> ssl.SSLContext:
        raise ValueError("a defect")

    def make(alpn: str | None) -> ClientConnection:
        raise AssertionError("there was no handshake")

    edge = Edge(ClientLimits(connections=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        acceptor = TLSAcceptor(edge, make, listening, broken, timeout=5, goodbye=1)
        acceptor.start()
        for _ in range(2):  # the second is no more than maxConnections either
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        acceptor.close()
        await acceptor.wait_closed()
    assert not edge.connections
    assert sum("a handshake has failed" in line for line in caplog.messages) == 2
