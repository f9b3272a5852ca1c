"""Routes in Redis, through a real `hipache serve`: how soon a change is seen, what a route costs.

    python -m bench.questions.routes changes|hot|memory|unknown

changes   1,000 changes, 4 workers under load: 10 ms (p99), never 100
hot       100,000 requests: which commands reach Redis meanwhile
memory    100,000 frontends: a worker's memory and its start
unknown   1,000,000 hosts that do not exist: memory stays flat

A worker is told apart by its connections: each keep-alive connection belongs to
one. A change is one RPUSH of a new frontend; from its end every worker is asked
for that host every 2 ms until it answers 200. The time counts to the end of
that answer, so it holds a whole request. The load is LOAD requests a second for
other hosts; client and backend share the machine with the workers.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import redis.asyncio
import uvloop

from bench.questions.route_memory import memory, unknown
from bench.questions.route_site import BUSY_CLIENTS, LOAD, Client, Site, site

ASK_EVERY = 0.002
"""Seconds between two requests to one worker: asking without a pause would measure the queue."""


async def one_client_of_each(site: Site) -> list[Client]:
    """A connection to every worker, told apart by which process holds its other end."""
    found: dict[int, Client] = {}
    workers = site.workers()
    while len(found) < len(workers):
        client = await Client.connect(site)
        await client.get("__ping__")
        owner = next(
            process.pid
            for process in workers
            if any(c.raddr and c.raddr.port == client.own_port for c in process.net_connections())
        )
        if owner in found:
            client.close()
        found.setdefault(owner, client)
    return list(found.values())


async def changes(count: int) -> bool:
    """From the end of RPUSH to the first request that sees it, in every one of 4 workers."""
    hosts = [f"busy{n}.example" for n in range(50)]

    async def fill(client: redis.asyncio.Redis, backend: str) -> None:
        for host in hosts:
            await client.rpush(f"frontend:{host}", host, backend)

    async with site(4, fill) as running:
        clients = await one_client_of_each(running)
        busy = [await Client.connect(running) for _ in range(BUSY_CLIENTS)]
        load = [asyncio.create_task(ask_for_ever(client, hosts)) for client in busy]
        found: list[float] = []
        for number in range(count):
            host = f"new{number}.example"
            for client in clients:
                assert await client.get(host) == 400
            await running.redis.rpush(f"frontend:{host}", host, running.backend)
            written = time.perf_counter()
            found += await asyncio.gather(*(seen(client, host, written) for client in clients))
        for task in load:
            task.cancel()
        found.sort()
        p99, worst = found[int(len(found) * 0.99)], found[-1]
        print(
            f"{count} changes, 4 workers: p50 {statistics.median(found):.2f} ms, "
            f"p99 {p99:.2f} ms, max {worst:.2f} ms"
        )
        return p99 <= 10 and worst <= 100


async def ask_for_ever(client: Client, hosts: list[str]) -> None:
    """Load: one request after the other."""
    while True:
        assert await client.get(random.choice(hosts)) == 200
        await asyncio.sleep(BUSY_CLIENTS / LOAD)


async def seen(client: Client, host: str, since: float) -> float:
    """Milliseconds until this worker routes `host`."""
    while await client.get(host) != 200:  # noqa: ASYNC110
        await asyncio.sleep(ASK_EVERY)
    return (time.perf_counter() - since) * 1000


async def hot(requests: int) -> bool:
    """Commands that reach Redis while one route is asked for again and again."""

    async def fill(client: redis.asyncio.Redis, backend: str) -> None:
        await client.rpush("frontend:hot.example", "hot", backend)

    async with site(1, fill) as running:
        clients = [await Client.connect(running) for _ in range(8)]
        await asyncio.gather(*(client.get("hot.example") for client in clients))
        await running.redis.config_resetstat()

        async def ask(client: Client) -> None:
            for _ in range(requests // len(clients)):
                assert await client.get("hot.example") == 200

        await asyncio.gather(*(ask(client) for client in clients))
        commands = await running.redis.info("commandstats")
        counts = {name.removeprefix("cmdstat_"): value["calls"] for name, value in commands.items()}
        print(f"{requests} requests: {counts}")
        return not counts.keys() & {"lrange", "smembers", "hgetall", "pttl"}


def main() -> int:
    """Run one measurement; the exit status says whether it reached its goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("changes").add_argument("--count", type=int, default=1000)
    commands.add_parser("hot").add_argument("--requests", type=int, default=100_000)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--frontends", type=int, default=100_000)
    of_memory.add_argument("--requests", type=int, default=0, help="0: as many as frontends")
    commands.add_parser("unknown").add_argument("--hosts", type=int, default=1_000_000)
    given = vars(parser.parse_args())
    measure: dict[str, Callable[..., Coroutine[Any, Any, bool]]]
    measure = {"changes": changes, "hot": hot, "memory": memory, "unknown": unknown}
    reached = uvloop.run(measure[given.pop("command")](*given.values()))
    print("goal reached" if reached else "goal MISSED")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
