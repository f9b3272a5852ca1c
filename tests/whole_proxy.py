"""A running proxy asked through each of its workers: what every single one says, under load."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

import psutil

from tests.processes import Service
from tests.redis_servers import until


class WorkerClient:
    """A kept connection, which belongs to one worker as long as it lives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.port = writer.get_extra_info("sockname")[1]

    async def get(self, host: str) -> bytes:
        """What `host` answers: the body of a 200, else the status."""
        self._writer.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r")[0]
        body = await self._reader.readexactly(int(length))
        assert b"connection: close" not in head, "the next answer would be another worker's"
        return body if head[9:12] == b"200" else head[9:12]

    def close(self) -> None:
        self._writer.close()


async def clients_of(service: Service) -> list[WorkerClient]:
    """One of each worker, told apart by which process holds the other end."""
    found: dict[int, WorkerClient] = {}
    workers = [psutil.Process(pid) for pid in service.workers()]
    while len(found) < len(workers):
        client = WorkerClient(*await asyncio.open_connection("127.0.0.1", service.port))
        await client.get("__ping__")  # the worker has accepted it
        [owner] = [
            worker.pid
            for worker in workers
            if any(c.raddr and c.raddr.port == client.port for c in worker.net_connections())
        ]
        if owner in found:
            client.close()
        found.setdefault(owner, client)
    return list(found.values())


class Load:
    """Hosts asked for in turns, through every worker at once, and what was answered."""

    def __init__(self, hosts: Sequence[str], workers: int) -> None:
        self.answers: set[bytes] = set()
        self._hosts = hosts
        self._latest = [deque[bytes](maxlen=10 * len(hosts)) for _ in range(workers)]

    async def ask_for_ever(self, client: WorkerClient, number: int) -> None:
        latest = self._latest[number]
        for host in cycle(self._hosts):
            latest.append(await client.get(host))
            self.answers.add(latest[-1])

    def forget(self) -> None:
        """Judge only what comes from now on."""
        self.answers.clear()
        for latest in self._latest:
            latest.clear()

    async def all_say(self, answer: bytes, *, seconds: float) -> None:
        """Until every worker has said nothing else for a while, about every host."""
        await until(lambda: all(self._says(some, answer) for some in self._latest), seconds=seconds)

    def _says(self, latest: deque[bytes], answer: bytes) -> bool:
        return len(latest) == latest.maxlen and set(latest) == {answer}

    async def goes_on(self) -> None:
        """Until every worker has been asked for every host again."""
        for latest in self._latest:
            latest.clear()
        await until(lambda: all(len(some) == some.maxlen for some in self._latest), seconds=10)


@asynccontextmanager
async def load(service: Service, hosts: Sequence[str]) -> AsyncIterator[Load]:
    """Ask until the end of the block, which is an error if asking ended by itself."""
    clients = await clients_of(service)
    running = Load(hosts, len(clients))
    tasks = [
        asyncio.create_task(running.ask_for_ever(client, number))
        for number, client in enumerate(clients)
    ]
    try:
        yield running
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            client.close()
