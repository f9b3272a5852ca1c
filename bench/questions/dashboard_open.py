"""What the dashboard costs while it is open, and whether the traffic notices.

    python -m bench.questions.dashboard_open [--frontends 10000] [--pages 10] [--seconds 20]

Each frontend is asked once first, so that as many as possible are counted by name. Then so many
pages follow what happens by server-sent events, as ten browsers would (overview, a page of sites
sorted by requests, one site, in turns), while requests come at a steady rate. Open and closed take
turns. Told are the CPU time of all workers as a share of a core, and the requests' p50 and p99.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
import redis.asyncio
import uvloop

from bench.processes import BenchError
from bench.questions.route_site import Client, Site, site
from tests.ports import free_port

WORKERS, CLIENTS, RATE, TURNS = 2, 8, 200, 3
PAGES = ("/live?page=/", "/live?page=/frontends&sort=rate", "/live?page=/frontend&key=0.example")
SETTLE = 6.0
"""Seconds until an open page has its first rates."""


def spent(workers: list[psutil.Process]) -> float:
    """Seconds of CPU time."""
    return sum(sum(worker.cpu_times()[:2]) for worker in workers)


async def ask_each(where: Site, count: int) -> None:
    """One request to every frontend."""
    numbers = iter(range(count))

    async def some() -> None:
        client = await Client.connect(where)
        for number in numbers:
            if await client.get(f"{number}.example") != 200:
                raise BenchError(f"{number}.example does not answer")
        client.close()

    await asyncio.gather(*(some() for _ in range(CLIENTS)))


async def load(where: Site, seconds: float, frontends: int) -> list[float]:
    """The seconds that each of RATE requests a second took."""
    took: list[float] = []

    async def pace(number: int) -> None:
        client = await Client.connect(where)
        began = time.perf_counter() + number / RATE
        for turn in range(int(seconds * RATE / CLIENTS)):
            await asyncio.sleep(max(0.0, began + turn * CLIENTS / RATE - time.perf_counter()))
            then = time.perf_counter()
            await client.get(f"{(turn * 7919 + number) % frontends}.example")
            took.append(time.perf_counter() - then)
        client.close()

    await asyncio.gather(*(pace(number) for number in range(CLIENTS)))
    return sorted(took)


@asynccontextmanager
async def open_pages(port: int, count: int) -> AsyncIterator[list[int]]:
    """Pages that are kept up to date; the bytes that each has got."""
    got = [0] * count

    async def follow(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = PAGES[number % len(PAGES)]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise BenchError(f"{path}: {head[:50]!r}")
        while data := await reader.read(65_536):
            got[number] += len(data)
        raise BenchError(f"{path} has ended")

    pages = [asyncio.create_task(follow(number)) for number in range(count)]
    yield got
    for page in pages:
        if page.done():
            page.result()
        page.cancel()
        with suppress(asyncio.CancelledError):
            await page


async def turn(where: Site, port: int, pages: int, seconds: float, frontends: int) -> float:
    """The CPU time of one turn, as a share of a core."""
    async with open_pages(port, pages) as got:
        await asyncio.sleep(SETTLE if pages else 1.0)
        before, began = spent(where.workers()), time.perf_counter()
        received = sum(got)
        took = await load(where, seconds, frontends)
        lasted = time.perf_counter() - began
        share = (spent(where.workers()) - before) / lasted
        rate = (sum(got) - received) / lasted / 1024
    p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    print(
        f"{pages:3} pages open  {100 * share:5.1f} % of a core  p50 {p50:.2f} ms  p99 {p99:.2f} ms"
        f"  {rate:.0f} KiB/s to the pages",
        flush=True,
    )
    return share


async def main(frontends: int, pages: int, seconds: float) -> None:
    """All turns, and the difference."""

    async def fill(client: redis.asyncio.Redis, backend: str) -> None:
        pipe = client.pipeline()
        for number in range(frontends):
            pipe.rpush(f"frontend:{number}.example", "site", backend)
        await pipe.execute()

    port = free_port()
    async with site(WORKERS, fill, admin={"bind": f"127.0.0.1:{port}"}) as where:
        await ask_each(where, frontends)
        shares: dict[int, list[float]] = {0: [], pages: []}
        for _ in range(TURNS):
            for count, found in shares.items():
                found.append(await turn(where, port, count, seconds, frontends))
    least = [min(found) for found in shares.values()]
    print(f"the pages cost {100 * (least[1] - least[0]):.1f} % of a core (least of each)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    uvloop.run(main(options.frontends, options.pages, options.seconds))
