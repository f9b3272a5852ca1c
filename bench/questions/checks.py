"""What active checks of many backends cost the traffic of the worker that does them.

    python -m bench.questions.checks [--backends 1000] [--seconds 15] [--rounds 3]

In turns a worker serves LOAD requests a second without checks and with them, at the
default interval, of backends in a process of their own. Told are the worker's CPU
time and the latencies of the clients, which share the machine with all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection

import redis.asyncio
import uvloop

from bench.questions.route_site import BUSY_CLIENTS, LOAD, Client, answer, site

HOST = "busy.example"
SETTLE = 3.0
"""Seconds until all frontends are listed and the first checks are under way."""


@dataclass
class Turn:
    """What one turn has shown."""

    milliseconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    """Seconds of the worker's CPU time."""

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.milliseconds, n=100)
        each = 1e6 * self.cpu / len(self.milliseconds)
        return f"p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, CPU {each:.0f} µs/request"


def checked_backends(count: int, pipe: Connection) -> None:
    """Answer on so many ports, which are told through the pipe."""

    async def listen() -> None:
        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(count)]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    uvloop.run(listen())


async def turn(ports: list[int], seconds: float, *, checks: bool) -> Turn:
    """Serve for so long."""

    async def fill(client: redis.asyncio.Redis, backend: str) -> None:
        await client.rpush(f"frontend:{HOST}", HOST, backend)
        for one, two in zip(ports[::2], ports[1::2], strict=True):
            urls = f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}"
            await client.rpush(f"frontend:{one}.example", "checked", *urls)

    found = Turn()
    async with site(1, fill, healthCheck={"path": "/"} if checks else None) as running:
        [worker] = running.workers()
        clients = [await Client.connect(running) for _ in range(BUSY_CLIENTS)]
        await asyncio.sleep(SETTLE)
        before, until = worker.cpu_times(), time.monotonic() + seconds

        async def ask(client: Client) -> None:
            while time.monotonic() < until:
                started = time.perf_counter()
                assert await client.get(HOST) == 200
                found.milliseconds.append((time.perf_counter() - started) * 1000)
                await asyncio.sleep(BUSY_CLIENTS / LOAD)

        await asyncio.gather(*map(ask, clients))
        after = worker.cpu_times()
        found.cpu = after.user + after.system - before.user - before.system
    return found


async def measure(backends: int, seconds: float, rounds: int) -> None:
    """Print each turn, and all of them together."""
    ours, theirs = Pipe()
    process = Process(target=checked_backends, args=(backends, theirs), daemon=True)
    process.start()
    totals = {False: Turn(), True: Turn()}
    try:
        ports = ours.recv()
        for number in range(rounds):
            for checks in (False, True) if number % 2 == 0 else (True, False):
                found = await turn(ports, seconds, checks=checks)
                print(f"{'with' if checks else 'without':7} checks: {found}", flush=True)
                totals[checks].milliseconds += found.milliseconds
                totals[checks].cpu += found.cpu
    finally:
        process.kill()
    for checks, total in totals.items():
        print(f"{'with' if checks else 'without':7} checks, {rounds} rounds: {total}")
    share = (totals[True].cpu - totals[False].cpu) / (rounds * seconds)
    print(f"checks of {backends} backends take {100 * share:.1f} % of a core")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    with suppress(KeyboardInterrupt):
        uvloop.run(measure(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
