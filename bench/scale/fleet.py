"""One size of fleet on a server: its processes, its changes, and what was measured."""

from __future__ import annotations

import multiprocessing
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.procfs import cpu_seconds
from bench.scale.real import WORKERS_EACH, RealCounts, port_of, work
from bench.scale.server import Server
from bench.scale.shared_numbers import CHANGING, Histogram, SharedNumbers, host, packed
from bench.scale.simulated import simulate

START_WITHIN = 120.0
SETTLE = 15.0
"""Seconds within which the last change is seen by all, or it is missing."""
LINES = 6
"""Of the answers to one change: OK, QUEUED twice, and EXEC's list of two."""
IN_ONE_PROCESS = 400
"""Simulated workers."""


@dataclass
class Measured:
    """What some seconds with one fleet have shown."""

    proxies: int
    workers: int
    changes: float
    """A second."""
    seen: Histogram
    missing: int
    """Changes that a worker has not been told of; a later one of the same host stands for both."""
    redis: float
    """Share of a core."""
    connections: int
    memory: int
    """Bytes that the server uses."""
    real: RealCounts
    lost: int
    """Tracking connections that were lost meanwhile, and took changes with them."""

    def __str__(self) -> str:
        real = self.real
        each = self.seen
        return (
            f"{self.proxies:7} {self.workers:7} {self.changes:9.0f} "
            f"{each.quantile(0.5):8.1f} {each.quantile(0.99):8.1f} {each.quantile(1):8.1f} "
            f"{100 * self.redis:7.0f} % {self.connections:11} {self.memory / 2**20:9.0f} "
            f"{real.requests:9} {real.failed:6} {real.stale:5}"
        )


HEADINGS = (
    f"{'proxies':>7} {'workers':>7} {'changes/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} "
    f"{'Redis':>9} {'connections':>11} {'MiB':>9} {'requests':>9} {'failed':>6} {'stale':>5}"
)


class Writer:
    """Changes frontends one after the other, as `hipache route set` does; waits for no answer."""

    def __init__(self, client: socket.socket, numbers: SharedNumbers) -> None:
        self._client, self._numbers = client, numbers
        self._waiting: deque[int] = deque()
        self._lines = 0
        self.sent = 0

    def write(self) -> None:
        """One change."""
        number = self.sent * 7 % CHANGING
        self.sent += 1
        key = f"frontend:{host(number)}"
        url = f"http://127.0.0.1:{port_of(self._numbers.version[number] + 1)}"
        self._waiting.append(number)
        self._numbers.sent[number] = time.monotonic()
        self._client.sendall(
            packed("MULTI") + packed("DEL", key) + packed("RPUSH", key, "site", url)
            + packed("EXEC")
        )  # fmt: skip

    def hear(self, seconds: float) -> None:
        """Note what the server has taken, waiting so long for it to say so."""
        while self._waiting and select.select([self._client], [], [], seconds)[0]:
            self._lines += self._client.recv(65_536).count(b"\r\n")
            while self._lines >= LINES and self._waiting:
                self._lines -= LINES
                number = self._waiting.popleft()
                self._numbers.taken[number] = time.monotonic()
                self._numbers.version[number] += 1

    def close(self) -> None:
        """After all was taken."""
        self.hear(SETTLE)
        self._client.close()


class Fleet:
    """Running workers, real and simulated."""

    def __init__(self, server: Server, numbers: SharedNumbers, proxies: int, real: int) -> None:
        self.server, self.numbers, self.proxies = server, numbers, proxies
        self.workers = proxies * WORKERS_EACH
        self.real = min(real, self.workers)
        self._pipes: list[Connection] = []
        self._simulated: list[Connection] = []
        self._real: Connection | None = None
        self._back, self._last_back, self._lost = 0, 0.0, 0

    @contextmanager
    def running(self, asked: int) -> Iterator[None]:
        """Until the block ends. `asked`: simulated workers that read a changed host again."""
        context = multiprocessing.get_context("fork")
        processes = []
        left = self.workers - self.real
        shares = [min(IN_ONE_PROCESS, left - at) for at in range(0, left, IN_ONE_PROCESS)]
        jobs: list[tuple[Any, ...]] = [
            (simulate, self.numbers, share, max(1, asked * share // left)) for share in shares
        ]
        jobs.append((work, self.server.url, self.real, self.numbers))
        try:
            for target, *arguments in jobs:
                ours, theirs = multiprocessing.Pipe()
                process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                self._pipes.append(ours)
            for pipe in self._pipes:
                if not pipe.poll(START_WITHIN):
                    raise TimeoutError("the workers did not start")
                pipe.recv()
            *self._simulated, self._real = self._pipes
            yield
        finally:
            for pipe, process in zip(self._pipes, processes, strict=False):
                pipe.send(None)
                process.join(10)
                process.kill()
                process.join()

    def change(self, rate: float, seconds: float, settle: float = SETTLE) -> Measured:
        """Change frontends so often, and say what was seen of it until `settle` seconds later."""
        self.take()
        before_back = self._back
        writer = Writer(self.server.connection(), self.numbers)
        before, began = cpu_seconds([self.server.pid]), time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            if writer.sent <= (now - began) * rate:
                writer.write()
            else:
                time.sleep(0.0005)
            writer.hear(0.0)
        took = time.monotonic() - began
        redis = (cpu_seconds([self.server.pid]) - before) / took
        writer.close()
        self._lost = 0
        seen, real = self.take()
        missing = self._settle(seen, writer.sent, settle)
        return Measured(
            self.proxies, self.workers, writer.sent / took, seen, missing, redis,
            *self.server.figures(), real, self._lost + self._back - before_back,
        )  # fmt: skip

    def settled(self, changes: int) -> tuple[Histogram, int]:
        """Wait until all workers have been told of so many changes that were just made: when they
        were, and how often one was not."""
        seen = self.take()[0]
        return seen, self._settle(seen, changes, SETTLE)

    def _settle(self, seen: Histogram, changes: int, within: float) -> int:
        until, told = time.monotonic() + within, changes * self.workers
        while (missing := told - seen.count) > 0 and time.monotonic() < until:
            time.sleep(0.1)
            seen.merge([self.take()[0]])
        return missing

    def take(self) -> tuple[Histogram, RealCounts]:
        """What all workers have counted since the last call."""
        for pipe in self._pipes:
            pipe.send("take")
        told = [pipe.recv() for pipe in self._simulated]
        assert self._real is not None
        real: RealCounts = self._real.recv()
        self._lost += real.lost
        self._back += sum(each[1] for each in told)
        self._last_back = max([self._last_back, *(each[2] for each in told)])
        return Histogram().merge([*(each[0] for each in told), real.seen]), real

    def back(self) -> tuple[int, float]:
        """How many simulated workers have connected since the last call, and when the last did."""
        self.take()
        count, self._back = self._back, 0
        return count, self._last_back
