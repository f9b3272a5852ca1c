"""While others wait for a connection, who takes nothing or too much loses one."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.upstream.pool import Pool
from tests.backends import Conversation, ScriptedBackend, answer, scripted
from tests.redis_servers import RedisServer
from tests.server.http2.frames import head, speaking
from tests.server.serving import Client
from tests.serving import Proxy, proxying

MOST = 4
"""Connections to the backend."""
LARGE = answer(b"x" * (8 << 20))
GET = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n"
UPLOAD = b"POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 70_000


@dataclass
class Site:
    """A proxy, the backend of its only route, and what it logged."""

    proxy: Proxy
    backend: ScriptedBackend
    log: Path

    async def client(self, address: str, request: bytes, *, window: int = 0) -> Client:
        """A connection from `address` that has asked; `window`: bytes that it takes unread."""
        sock = socket.socket()
        sock.setblocking(False)
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.bind((address, 0))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.proxy.port))
        client = Client(*await asyncio.open_connection(sock=sock))
        if window:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        self.proxy.clients.append(client)
        client.send(request)
        return client

    async def asked(self, count: int) -> None:
        """Wait until so many requests have reached the backend."""
        async with asyncio.timeout(20):
            await self.backend.until(lambda backend: len(backend.requests) >= count)

    @property
    def pool(self) -> Pool:
        assert self.proxy.app is not None
        client = self.proxy.app.router.default.http._client  # type: ignore[attr-defined]
        return client.pools.find(("http", "127.0.0.1", self.backend.port))  # type: ignore[no-any-return]

    async def behind(self) -> None:
        """Wait until every client of the backend takes less than it is given."""
        async with asyncio.timeout(20):
            while not all(connection.paused for connection in self.pool._open):  # type: ignore[attr-defined] # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def visit(self) -> int:
        """The status that a visitor from another address gets."""
        visitor = await self.client("127.0.9.9", GET % b"/")
        async with asyncio.timeout(20):
            return (await visitor.response())[0]

    async def errors(self, count: int) -> list[tuple[int, str]]:
        """Status and error of the requests that ended with one, once there are so many."""
        async with asyncio.timeout(20):
            while len(found := [line for line in self._lines() if line[1]]) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    def _lines(self) -> list[tuple[int, str]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [(line["status"], line["error"] or "") for line in lines]


@asynccontextmanager
async def site(
    valkey: RedisServer,
    folder: Path,
    *,
    rest: Callable[[Conversation], Awaitable[None]] | None = None,
    **server: object,
) -> AsyncIterator[Site]:
    """Answers `/large` with 8 MiB, `/` at once; `rest` answers all else, or nobody."""

    async def script(conversation: Conversation) -> None:
        while True:
            request = await conversation.head()
            target = request.line[1]
            if target == b"/large":
                await conversation.send(LARGE)
            elif target == b"/":
                await conversation.send(answer(b"ok"))
            elif rest is not None:
                await rest(conversation)
            else:
                await conversation.gone()

    log = folder / "access.log"
    limits = {"maxSockets": MOST, "slowClientGrace": 0.2, "queueTimeout": 20, **server}
    async with (
        scripted(script) as backend,
        proxying(valkey, accessLog=str(log), accessLogFormat="json", **limits) as proxy,
    ):
        await proxy.route("a.test", backend, "http://127.0.0.1:1")
        async with valkey.client as redis:  # the second one is there to make marks possible
            await redis.hset("options:a.test", "backup:http://127.0.0.1:1", "on")
        yield Site(proxy, backend, log)


async def marks(valkey: RedisServer) -> list[str]:
    async with valkey.client as redis:
        return [key for key in await redis.keys("*") if "dead" in key]


async def test_a_reader_that_takes_nothing_makes_way(
    valkey: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with site(valkey, tmp_path) as a_site:
            readers = [
                await a_site.client("127.0.9.1", GET % b"/large", window=4096) for _ in range(MOST)
            ]
            await a_site.asked(MOST)
            await a_site.behind()
            assert await a_site.visit() == 200
            assert await a_site.errors(1) == [
                (200, "others waited for the connection, and the client took or sent nothing")
            ]
            assert await marks(valkey) == []
            cut = 0
            for reader in readers:
                reader.writer.transport.resume_reading()  # type: ignore[attr-defined]
                async with asyncio.timeout(20):
                    try:
                        await reader.response()
                    except asyncio.IncompleteReadError:
                        cut += 1
            assert cut == 1  # and the client sees it
    assert "connection taken away" in caplog.text
    assert "client=127.0.9.1" in caplog.text


async def test_streams_of_http2_whose_windows_are_shut_make_way(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with (
        site(valkey, tmp_path, http2=True) as a_site,
        speaking(a_site.proxy.port, reads=False) as client,
    ):
        streams = range(1, 2 * MOST, 2)
        for stream in streams:
            client.request(stream, head(host=b"a.test", path=b"/large"))
        await a_site.asked(MOST)
        await a_site.behind()
        assert await a_site.visit() == 200
        [(status, error)] = await a_site.errors(1)
        assert (status, "took or sent nothing" in error) == (200, True)
        await client.until(lambda: any(client.of(stream).reset for stream in streams))
        assert sum(client.of(stream).reset is not None for stream in streams) == 1


async def test_an_upload_that_sends_nothing_makes_way(valkey: RedisServer, tmp_path: Path) -> None:
    async with site(valkey, tmp_path) as a_site:
        uploads = [await a_site.client("127.0.9.1", UPLOAD) for _ in range(MOST)]
        await a_site.asked(MOST)
        assert await a_site.visit() == 200
        [(status, error)] = await a_site.errors(1)
        assert (status, "took or sent nothing" in error) == (408, True)
        answered = [asyncio.create_task(upload.response()) for upload in uploads]
        first, others = await asyncio.wait(answered, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result()[0] for task in first] == [408]
        for task in others:
            task.cancel()
        assert await marks(valkey) == []


async def test_of_several_addresses_each_keeps_what_nobody_needs(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with site(valkey, tmp_path) as a_site:
        for number in range(2 * MOST):
            await a_site.client(f"127.0.9.{1 + number}", GET % b"/large", window=4096)
        await a_site.asked(MOST)
        assert [await a_site.visit() for _ in range(20)] == [200] * 20


async def test_nobody_holds_more_than_half_while_others_wait(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with site(valkey, tmp_path) as a_site:
        pages = [await a_site.client("127.0.9.1", GET % b"/slow") for _ in range(MOST)]
        await a_site.asked(MOST)
        assert await a_site.visit() == 200
        [(status, error)] = await a_site.errors(1)
        assert (status, error) == (503, "others waited for the connection to the backend")
        status, head, _ = await pages[-1].response()  # the one that began last
        assert (status, b"retry-after: 1" in head.lower()) == (503, True)
        assert await marks(valkey) == []


async def test_a_quiet_stream_beyond_half_is_cut_visibly(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async def quiet(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await conversation.gone()

    async with site(valkey, tmp_path, rest=quiet) as a_site:
        streams = [await a_site.client("127.0.9.1", GET % b"/events") for _ in range(MOST)]
        for stream in streams:
            await stream.until(b"x\r\n")
        assert await a_site.visit() == 200
        assert (await streams[-1].rest()) == b""  # without the last chunk
        assert [status for status, _ in await a_site.errors(1)] == [200]


async def test_who_takes_much_waits_behind_the_others(valkey: RedisServer, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def waiting(conversation: Conversation) -> None:
        await go_on.wait()
        await conversation.send(answer(b"ok"))

    async with site(valkey, tmp_path, rest=waiting, slowClientGrace=5) as a_site:
        for _ in range(MOST + 2):
            await a_site.client("127.0.9.1", GET % b"/page")
        await a_site.asked(MOST)
        visitor = asyncio.create_task(a_site.visit())
        async with asyncio.timeout(20):
            line = a_site.pool._queue
            while (len(line.front), len(line.behind)) != (1, 2):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        go_on.set()
        assert await visitor == 200
        await a_site.asked(MOST + 3)
        assert a_site.backend.requests[MOST].line[1] == b"/"


async def test_a_full_queue_has_room_for_others(valkey: RedisServer, tmp_path: Path) -> None:
    async with site(valkey, tmp_path, maxQueue=2) as a_site:
        for _ in range(MOST + 2):
            await a_site.client("127.0.9.1", GET % b"/slow")
        await a_site.asked(MOST)
        assert await a_site.visit() == 200


async def test_without_others_a_slow_reader_is_left_alone(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with site(valkey, tmp_path, slowClientGrace=0.01) as a_site:
        readers = [
            await a_site.client("127.0.9.1", GET % b"/large", window=4096) for _ in range(MOST)
        ]
        await a_site.asked(MOST)
        await asyncio.sleep(0.1)  # ten times the grace
        for reader in readers:
            reader.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len((await reader.response())[2]) == 8 << 20


async def test_a_grace_of_zero_switches_it_off(valkey: RedisServer, tmp_path: Path) -> None:
    async with site(valkey, tmp_path, slowClientGrace=0, queueTimeout=0.1) as a_site:
        for _ in range(MOST):
            await a_site.client("127.0.9.1", GET % b"/large", window=4096)
        await a_site.asked(MOST)
        assert await a_site.visit() == 503
