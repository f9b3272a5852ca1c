"""What many routes, and many hosts without one, cost a worker: see `bench.questions.routes`."""

from __future__ import annotations

import asyncio
import random

import redis.asyncio

from bench.processes import BenchError, tail
from bench.questions.route_site import MIB, Client, Site, site

CLIENTS = 16


def resident(site: Site) -> float:
    """MiB of the one worker."""
    [worker] = site.workers()
    return float(worker.memory_info().rss) / MIB


async def fill(client: redis.asyncio.Redis, backend: str, count: int) -> None:
    """Write `count` frontends with two backends each."""
    other = f"{backend}/"
    for start in range(0, count, 1000):
        async with client.pipeline(transaction=False) as pipe:
            for number in range(start, min(start + 1000, count)):
                name = f"site{number}.example.com"
                pipe.rpush(f"frontend:{name}", name, backend, other)
            await pipe.execute()


async def ask_all(running: Site, hosts: list[str], status: int) -> None:
    """Ask for every host once."""
    left = iter(hosts)

    async def ask(client: Client) -> None:
        for host in left:
            if (got := await client.get(host)) != status:
                raise BenchError(f"{host}: {got} instead of {status}\n{tail(running.log)}")

    clients = [await Client.connect(running) for _ in range(CLIENTS)]
    await asyncio.gather(*(ask(client) for client in clients))
    for client in clients:
        client.close()


async def memory(frontends: int, requests: int) -> bool:
    """A worker's memory after requests at random, 0: as many as there are frontends; its start."""
    requests = requests or frontends
    async with site(1, lambda client, backend: fill(client, backend, 10)) as small:
        few = small.seconds_to_start
    async with site(1, lambda client, backend: fill(client, backend, frontends)) as running:
        many, before = running.seconds_to_start, resident(running)
        names = [f"site{random.randrange(frontends)}.example.com" for _ in range(requests)]
        await ask_all(running, names, 200)
        after = resident(running)
    print(
        f"{frontends} frontends: {before:.1f} MiB at the start, {after:.1f} MiB after {requests} "
        f"requests; ready after {many:.2f} s ({few:.2f} s with ten)"
    )
    return after <= 90 and many <= few * 1.2 + 0.2


async def unknown(hosts: int) -> bool:
    """A worker's memory while hosts are asked for that do not exist, each once."""
    first, found = 50_000, []

    async def nothing(client: redis.asyncio.Redis, backend: str) -> None:
        pass

    async with site(1, nothing) as running:
        for start in range(0, hosts, first):
            await ask_all(
                running,
                [f"x{n}.nowhere.example" for n in range(start, min(start + first, hosts))],
                400,
            )
            found.append(resident(running))
            print(f"{start + first} hosts: {found[-1]:.1f} MiB", flush=True)
        keys = await running.redis.dbsize()
    print(f"grew by {max(found) - found[0]:.1f} MiB after the first {first}; keys in Redis: {keys}")
    return max(found) - found[0] <= 10
