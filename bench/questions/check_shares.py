"""What active checks cost each worker when several share them, and what a killed one leaves undone.

    python -m bench.questions.check_shares [--backends 1000] [--workers 1 2 4] [--seconds 20]

There is no traffic but checks, at the default interval. After the measured seconds the worker with
the most checks is killed with SIGKILL. Told are the CPU time of each worker, beside that without
checks, and the longest time between two checks of any backend, before and after the kill.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection

import psutil
import redis.asyncio
import uvloop

from app.stores.redis.check_leases import LEASES
from bench.questions.route_site import ANSWER, site

SETTLE = 12.0
"""Seconds until every backend was checked once, and each worker has its share."""
AFTER = 22.0
"""Seconds after the kill: every backend is checked twice."""


def noting_backends(count: int, pipe: Connection) -> None:
    """Answer on so many ports; tell the longest pause of any when something comes by the pipe."""
    last: dict[int, float] = {}
    longest = 0.0

    def noting(
        number: int,
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal longest
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                now = time.monotonic()
                longest = max(longest, now - last.get(number, now))
                last[number] = now
                writer.write(ANSWER)
            writer.close()

        return answer

    async def listen() -> None:
        nonlocal longest
        servers = [await asyncio.start_server(noting(n), "127.0.0.1", 0) for n in range(count)]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        while True:
            await asyncio.to_thread(pipe.recv)
            now = time.monotonic()
            pipe.send((longest, sum(now - at > 15 for at in last.values()), len(last)))
            longest = 0.0

    with suppress(EOFError):
        uvloop.run(listen())


def spent(worker: psutil.Process) -> float:
    """Seconds of CPU time."""
    times = worker.cpu_times()
    return float(times.user + times.system)


async def turn(pipe: Connection, ports: list[int], workers: int, seconds: float) -> None:
    """One number of workers."""

    async def fill(client: redis.asyncio.Redis, backend: str) -> None:
        for one, two in zip(ports[::2], ports[1::2], strict=True):
            urls = f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}"
            await client.rpush(f"frontend:{one}.example", "checked", *urls)

    async def pause() -> tuple[float, int, int]:
        pipe.send(None)
        found: tuple[float, int, int] = await asyncio.to_thread(pipe.recv)
        return found

    idle = 0.0
    for wanted in (None, {"path": "/"}):
        async with site(workers, fill, healthCheck=wanted) as running:
            await asyncio.sleep(SETTLE if wanted else 2)
            await pause()
            processes = running.workers()
            before = [spent(worker) for worker in processes]
            await asyncio.sleep(seconds)
            shares = [
                (spent(worker) - then) / seconds
                for worker, then in zip(processes, before, strict=True)
            ]
            if wanted is None:
                idle = sum(shares) / workers
                continue
            gap, _, checked = await pause()
            each = ", ".join(f"{100 * (share - idle):.1f} %" for share in sorted(shares))
            print(f"{workers} workers, {checked} backends: {each} of a core; gap {gap:.1f} s")
            if workers > 1:
                entries = await running.redis.hvals(LEASES)
                busiest = max(processes, key=lambda p: sum(f":{p.pid}:" in e for e in entries))
                busiest.kill()
                await asyncio.sleep(AFTER)
                gap, missed, _ = await pause()
                print(f"  after kill -9 of one: gap {gap:.1f} s, {missed} left out", flush=True)


async def measure(backends: int, workers: list[int], seconds: float) -> None:
    """Each number of workers in turn."""
    ours, theirs = Pipe()
    process = Process(target=noting_backends, args=(backends, theirs), daemon=True)
    process.start()
    try:
        ports = ours.recv()
        for count in workers:
            await turn(ours, ports, count, seconds)
    finally:
        process.kill()


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=20)
    with suppress(KeyboardInterrupt):
        uvloop.run(measure(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
