"""Real workers' stores: our client of Redis with its cache, and simulated requests for routes."""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from app.config.store_address import StoreAddress
from app.config.structs import Config, ServerConfig
from app.errors import ProxyError
from app.stores import CachedStore, open_store
from bench.scale.shared_numbers import Histogram, SharedNumbers, host

WORKERS_EACH = 8
"""Workers of one proxy: they share their reads."""
POPULAR = 2000
"""Frontends that requests ask for."""
REQUESTS = 50
"""Requests a second that each worker finds a route for."""
PORTS = 60_000
GRACE = 3.0
"""Seconds after which a route that was changed counts as stale: so long a worker may be blind."""


@dataclass
class RealCounts:
    """What the workers of one process have seen since they were last asked."""

    seen: Histogram = field(default_factory=Histogram)
    requests: int = 0
    failed: int = 0
    """Requests for hosts that the worker had read before; such an answer needs no server."""
    unread: int = 0
    """Requests that failed for hosts that it had never read."""
    stale: int = 0
    """Answers that were older than a change of GRACE before."""
    lost: int = 0
    """How often a worker lost its tracking connection, and with it what it was told meanwhile."""
    reads: int = 0
    cpu: float = 0.0
    """Seconds of this process."""


class Watched:
    """One worker's store, and when it was told of changes."""

    def __init__(self, store: CachedStore, numbers: SharedNumbers, counts: RealCounts) -> None:
        self.store, self._numbers, self.counts = store, numbers, counts
        self._told = store.frontend_changed
        store.frontend_changed = self._changed  # type: ignore[method-assign]
        self._lost, self._unreachable = store.lost, store.unreachable
        store.lost = self._is_lost  # type: ignore[method-assign]
        store.unreachable = self._is_unreachable  # type: ignore[method-assign]
        self._read_before = store.numbers.misses
        self._once_read: set[int] = set()

    def _is_lost(self, reason: str) -> None:
        self.counts.lost += 1
        self._lost(reason)

    def _is_unreachable(self, reason: str) -> None:
        self.counts.lost += 1
        self._unreachable(reason)

    def _changed(self, key: str) -> None:
        self._told(key)
        number = int(key[1:7])
        self.counts.seen.add(time.monotonic() - self._numbers.sent[number])

    async def serve(self) -> None:
        """Find routes for requests, until cancelled."""
        running: set[asyncio.Task[None]] = set()
        while True:
            for _ in range(REQUESTS // 10):
                task = asyncio.create_task(self._request(random.randrange(POPULAR)))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.1)

    async def _request(self, number: int) -> None:
        numbers, name = self._numbers, host(number)
        version, settled = numbers.version[number], time.monotonic() - GRACE
        self.counts.requests += 1
        try:
            route = self.store.known(name) or await self.store.find(name)
        except ProxyError:
            known = number in self._once_read
            self.counts.failed += known
            self.counts.unread += not known
            return
        self._once_read.add(number)
        if numbers.taken[number] < settled and version == numbers.version[number]:
            # The server may have taken a change of which the writer does not know yet.
            self.counts.stale += is_older(route.frontend.backends[0].port, version)

    def reads(self) -> int:
        """Reads that it wanted since the last call."""
        before, self._read_before = self._read_before, self.store.numbers.misses
        return self._read_before - before


def port_of(version: int) -> int:
    """The port of the backend after so many changes of a frontend."""
    return 1 + version % PORTS


def is_older(port: int, version: int) -> bool:
    """Whether this port is that of an earlier version.

    >>> is_older(port_of(7), 8), is_older(port_of(8), 8), is_older(port_of(9), 8)
    (True, False, False)
    """
    return 0 < (port_of(version) - port) % PORTS < PORTS // 2


async def _work(url: str, count: int, numbers: SharedNumbers, pipe: Connection) -> None:
    server = ServerConfig(snapshot=None)
    config = Config(driver=(StoreAddress(url),), server=server)
    counts, workers = RealCounts(), list[Watched]()
    async with AsyncExitStack() as stack:
        for number in range(count):
            if number % WORKERS_EACH == 0:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
            store = open_store(config, folder)
            stack.push_async_callback(store.aclose)
            workers.append(Watched(store, numbers, counts))
            await store.start()
        tasks = [asyncio.create_task(each.serve()) for each in workers]
        pipe.send(None)
        spent = time.process_time()
        while await asyncio.to_thread(pipe.recv) is not None:
            counts.cpu, spent = time.process_time() - spent, time.process_time()
            counts.reads = sum(each.reads() for each in workers)
            pipe.send(counts)
            counts = RealCounts()
            for each in workers:
                each.counts = counts
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def work(url: str, count: int, numbers: SharedNumbers, pipe: Connection) -> None:
    """A process of them."""
    logging.disable()  # an outage is told a thousand times
    uvloop.run(_work(url, count, numbers, pipe))
