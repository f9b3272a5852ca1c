"""How exact a shared rate is that workers take in slices, and what it costs Redis.

    python -m bench.questions.rate_slices [--loads 1 1 1 1] [--times 2] [--rate 1000] [--seconds 12]

Workers in this process, each with connections of its own, let the requests of one client pass,
which sends `--times` as many as the rate allows. `--loads` says how they are divided: one number
for each worker. Told are the requests that passed in each whole second, in all of them, and the
commands that Redis saw from each worker in a second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import tempfile
from collections.abc import Awaitable
from contextlib import suppress

import redis.asyncio
import uvloop

from app.config.store_address import StoreAddress
from app.frontends.rates import Rate
from app.proxy.guards.rate_limits import RateLimits
from app.stores.embedded.store import find_server
from app.stores.redis.connections import Connections
from app.stores.redis.rate_slices import RateSlices
from app.stores.redis.shared_rates import RedisRates
from app.stores.redis.url import parse_url
from bench.questions.route_site import answers
from tests.ports import free_port

SETTLE = 2.0
"""Seconds until the burst is used up."""


async def measure(loads: list[float], times: float, rate: int, seconds: int) -> None:
    """Start a Redis and ask it."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        store = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        client = redis.asyncio.Redis(port=port, decode_responses=True)
        try:
            await answers(client)
            await load(
                client, port, [times * rate * each / sum(loads) for each in loads], rate, seconds
            )
        finally:
            await client.aclose()
            store.kill()
            store.wait()


async def load(
    client: redis.asyncio.Redis, port: int, loads: list[float], rate: int, seconds: int
) -> None:
    """Send so many a second to each worker, and print what passed."""
    loop, limit = asyncio.get_running_loop(), Rate(1 / rate, rate)
    passed: list[float] = []
    url = parse_url(StoreAddress(f"redis://127.0.0.1:{port}"))
    pools = [Connections(url, timeout=1, bounded=True) for _ in loads]
    slices = [RateSlices(RedisRates(pool, "", within=1)) for pool in pools]
    limits = [RateLimits(loop.time, each) for each in slices]
    begin = loop.time()
    end = begin + SETTLE + seconds

    async def ask(early: Awaitable[float]) -> None:
        if await early == 0:
            passed.append(loop.time())

    async def send(worker: RateLimits, a_second: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            due = loop.time()
            while due < end:
                due += random.expovariate(a_second)
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                early = worker.take("busy.example", "10.0.0.1", limit)
                if not isinstance(early, float):
                    tasks.create_task(ask(early))
                elif early == 0:
                    passed.append(loop.time())

    await asyncio.gather(*map(send, limits, loads))
    calls = int((await client.info("commandstats"))["cmdstat_evalsha"]["calls"])
    for worker, pool in zip(slices, pools, strict=True):
        await worker.aclose()
        await pool.aclose()
    first = begin + SETTLE
    each = [sum(first + n <= at < first + n + 1 for at in passed) for n in range(seconds)]
    every = calls / len(loads) / (SETTLE + seconds)
    print(f"passed in each second: {each}")
    print(f"error: {max(abs(n - rate) for n in each) / rate:.1%} of a second's at most")
    for n in range(0, seconds - 9, 10):
        print(f"error over ten seconds: {sum(each[n : n + 10]) / rate / 10 - 1:+.2%}")
    print(f"commands for each worker: {every:.1f} a second")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0] * 4)
    parser.add_argument("--times", type=float, default=2)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=12)
    with suppress(KeyboardInterrupt):
        uvloop.run(measure(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
