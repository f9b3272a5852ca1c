"""Requests below ASGI that wait for a connection to their backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.backends import Conversation, ScriptedBackend, answer, scripted
from tests.proxy.ways import Way, closed, has_task, rest_of, two_ways
from tests.redis_servers import RedisServer
from tests.server.serving import Client
from tests.serving import proxying

QUEUE = {"maxSockets": 1, "accessLogFormat": "{status} {attempts} {error}"}


class Busy:
    """A route whose backend takes one connection and holds the first request back."""

    def __init__(self, way: Way, backend: ScriptedBackend, go_on: asyncio.Event) -> None:
        self.way = way
        self.backend = backend
        self.go_on = go_on
        self.host = f"{way.name}.test".encode()

    async def ask(self, *requests: bytes) -> list[Client]:
        """A client for each of `requests`, sent in this order."""
        clients = []
        for request in requests:
            clients.append(await self.way.proxy.connect())
            clients[-1].send(request % self.host)
        return clients

    async def queued(self, count: int) -> None:
        """Wait until so many wait for the connection, and nobody has a task for it but ASGI."""
        async with asyncio.timeout(10):
            while self.waiting() != count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        assert has_task() == (self.way.name == "way-two")

    def waiting(self) -> int:
        assert self.way.proxy.app is not None
        client = self.way.proxy.app.router.default.http._client  # type: ignore[attr-defined]
        return sum(pool.queued for pool in client.pools)

    async def release_when_drained(self) -> None:
        """Let the backend answer once nobody listens; all who wait have a task then."""
        await closed(self.way.proxy.port)
        assert has_task()
        self.go_on.set()

    def nothing_left(self) -> bool:
        return self.waiting() == 0 and self.way.left_behind(self.host) == []


@asynccontextmanager
async def busy(way: Way, *, close: bool = False) -> AsyncIterator[Busy]:
    """The backend numbers its answers by request; with `close` each connection has but one."""
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        while True:
            target = (await conversation.receive()).head.split()[1]
            if target != b"/":
                await go_on.wait()
            await conversation.send(answer(target))
            if close and target != b"/":
                return

    async with scripted(script) as backend:
        crowd = Busy(way, backend, go_on)
        await way.proxy.route(crowd.host.decode(), backend)
        assert (await way.proxy.get(host=crowd.host)).endswith(b"/")
        await way.settled()
        yield crowd


def numbered(count: int, method: bytes = b"GET") -> list[bytes]:
    """Requests for /0, /1 …"""
    rest = b" HTTP/1.1\r\nHost: %b\r\n" + (b"Content-Length: 0\r\n" * (method == b"POST"))
    return [b"%b /%d" % (method, number) + rest + b"\r\n" for number in range(count)]


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("close", [False, True], ids=["kept", "closed unannounced"])
async def test_who_waits_for_a_connection_is_served_in_turn(
    valkey: RedisServer, tmp_path: Path, method: bytes, close: bool
) -> None:
    async with two_ways(valkey, tmp_path, **QUEUE) as ways:
        for way in ways:
            async with busy(way, close=close) as crowd:
                clients = await crowd.ask(*numbered(1, method))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                for request in numbered(6, method)[1:]:
                    clients += await crowd.ask(request)
                    await crowd.queued(len(clients) - 1)
                crowd.go_on.set()
                replies = [(await client.response())[2] for client in clients]
                assert replies == [b"/%d" % number for number in range(6)]
                await way.settled()
                assert crowd.nothing_left()
                asked = [r.head.split()[1] for r in crowd.backend.requests[1:]]
                # One that finds its connection closed after all takes the next that is free.
                assert (sorted(asked) if close else asked) == replies


async def test_who_leaves_the_queue_lets_the_others_go_on(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with two_ways(valkey, tmp_path, **QUEUE) as ways:
        for way in ways:
            async with busy(way) as crowd:
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                for request in numbered(4)[1:]:
                    clients += await crowd.ask(request)
                    await crowd.queued(len(clients) - 1)
                clients[2].reset()
                await crowd.queued(2)
                crowd.go_on.set()
                for number in (0, 1, 3):
                    assert (await clients[number].response())[2] == b"/%d" % number
                await way.settled()
                assert crowd.nothing_left()
    for way in ways:
        assert sorted(way.log.read_text().splitlines()) == ["200 1 -"] * 4 + ["499 1 client left"]


@pytest.mark.parametrize(
    ("limit", "error"),
    [({"queueTimeout": 0.05}, "the backend is busy"), ({"maxQueue": 1}, "too many wait")],
)
async def test_who_waits_in_vain_gets_503(
    valkey: RedisServer, tmp_path: Path, limit: dict[str, Any], error: str
) -> None:
    async with two_ways(valkey, tmp_path, **QUEUE, retryOnError=0, **limit) as ways:
        for way in ways:
            async with busy(way) as crowd:
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                for request in numbered(3)[1:]:
                    clients += await crowd.ask(request)
                status, headers, _ = await clients[2].response()
                assert (status, b"retry-after" in headers) == (503, True)
                crowd.go_on.set()
                assert (await clients[0].response())[2] == b"/0"
                await clients[1].response()
                await way.settled()
                assert crowd.nothing_left()
    below, through = [sorted(way.log.read_text().splitlines()) for way in ways]
    assert below == through
    assert error in below[-1]


async def test_who_waits_for_a_connection_when_the_worker_drains_is_answered(
    valkey: RedisServer, tmp_path: Path
) -> None:
    for asgi in (False, True):
        async with AsyncExitStack() as stack:
            async with proxying(valkey, asgi=asgi, maxSockets=1) as proxy:
                way = Way(proxy, Path(), "way-two" if asgi else "way-one")
                crowd = await stack.enter_async_context(busy(way))
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                clients += await crowd.ask(*numbered(2)[1:])
                await crowd.queued(1)
                proxy.clients.clear()  # they stay
                replies = [asyncio.create_task(rest_of(client)) for client in clients]
                released = asyncio.create_task(crowd.release_when_drained())
            assert [(await reply)[-2:] for reply in replies] == [b"/0", b"/1"]
            await released
