"""A whole proxy whose workers share a tracking connection, while its workers come and go."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.backends import answer, answering
from tests.processes import Service, serve
from tests.redis_servers import RedisServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

WORKERS = 4
ASKED = 8 * WORKERS
"""Connections, of which each worker gets some."""
PATIENCE = 20.0


@dataclass
class Site:
    """A proxy, and two backends that say their names."""

    redis: RedisServer
    service: Service
    urls: dict[bytes, str]

    async def route(self, name: bytes) -> None:
        """Let the host lead there."""
        async with self.redis.client as client, client.pipeline() as pipe:
            pipe.delete("frontend:a.test").rpush("frontend:a.test", "id", self.urls[name])
            await pipe.execute()

    async def all_say(self, name: bytes) -> None:
        """Until so many connections in a row are answered so."""
        async with asyncio.timeout(PATIENCE):
            right = 0
            while right < ASKED:
                reply = await self.service.ask()
                right = right + 1 if reply.endswith(name) else 0

    async def changes(self, count: int) -> None:
        """Every worker sees each of them."""
        for number in range(count):
            name = list(self.urls)[number % 2]
            await self.route(name)
            await self.all_say(name)

    async def listening(self) -> list[int]:
        """The workers that have a tracking connection."""
        async with self.redis.client as client:
            found = await client.client_list()
        ports = {int(c["addr"].rpartition(":")[2]) for c in found if "t" in c["flags"]}
        return [
            pid
            for pid in self.service.workers()
            if any(c.laddr.port in ports for c in psutil.Process(pid).net_connections("tcp4"))
        ]

    async def one_listens(self) -> int:
        """Its pid, when it is the only one."""
        async with asyncio.timeout(PATIENCE):
            while len(found := await self.listening()) != 1:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        return found[0]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    redis = await RedisServer(tmp_path).start()
    async with (
        answering(answer(b"one")) as one,
        answering(answer(b"two")) as two,
        serve(tmp_path, redis.url, WORKERS) as service,
    ):
        yield Site(redis, service, {b"one": one.url, b"two": two.url})
    redis.kill()


async def test_one_worker_listens_and_all_are_told(site):
    await site.one_listens()
    await site.changes(10)


async def test_the_listening_worker_is_killed(site):
    await site.changes(2)
    for _ in range(3):
        first = await site.one_listens()
        os.kill(first, signal.SIGKILL)
        await site.changes(3)
        assert await site.one_listens() != first


async def test_old_and_new_workers_after_a_reload(site):
    await site.changes(2)
    first = await site.one_listens()
    site.service.signal(signal.SIGHUP)
    await site.changes(6)
    for _ in range(WORKERS):
        await site.service.saw("worker ended")
    await site.changes(2)
    assert await site.one_listens() != first
