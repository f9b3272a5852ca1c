"""What the dashboard costs while it is open, and whether the traffic notices.

    python -m bench.questions.dashboard_open [--frontends 10000] [--pages 10] [--seconds 10]

On a machine that does other things, too, put `chrt -f 5` in front, as root: the whole bench then
goes before them. They would decide the p99 otherwise.

Each frontend is asked once first, so that as many as possible are counted by name. Then so many
pages follow what happens by server-sent events, as ten browsers would (overview, a page of sites
sorted by requests, one site, in turns), while requests come at a steady rate. Open and closed come
in pairs, each pair in the other order than the one before. Told are the CPU time of all workers as
a share of a core, and the requests' p50 and p99. The bench's own garbage collector is off.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import NamedTuple

import psutil
import redis.asyncio
import uvloop

from bench.processes import BenchError, tail
from bench.questions.route_site import Client, Site, site
from tests.ports import free_port

WORKERS, CLIENTS, RATE = 2, 8, 200
PAGES = ("/live?page=/", "/live?page=/frontends&sort=rate", "/live?page=/frontend&key=0.example")
SETTLE = 6.0
"""Seconds until an open page has its first rates."""


class Turn(NamedTuple):
    """What was found in one turn."""

    share: float
    """CPU time, as a share of a core."""
    p50: float
    """Milliseconds."""
    p99: float


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


@asynccontextmanager
async def telling_log(where: Site) -> AsyncIterator[None]:
    """What goes wrong is told with the end of the proxy's log."""
    try:
        yield
    except BenchError as exc:
        raise BenchError(f"{exc}\n{tail(where.log)}") from exc


async def turn(where: Site, port: int, pages: int, seconds: float, frontends: int) -> Turn:
    """Requests for so many seconds, with so many pages open."""
    async with telling_log(where), open_pages(port, pages) as got:
        await asyncio.sleep(SETTLE if pages else 1.0)
        before, began = spent(where.workers()), time.perf_counter()
        received = sum(got)
        took = await load(where, seconds, frontends)
        lasted = time.perf_counter() - began
        share = (spent(where.workers()) - before) / lasted
        rate = (sum(got) - received) / lasted / 1024
    found = Turn(share, *(took[int(len(took) * part)] * 1000 for part in (0.5, 0.99)))
    print(f"{pages:3} pages open  {told(found)}  {rate:.0f} KiB/s to the pages", flush=True)
    return found


def told(turn: Turn) -> str:
    """
    >>> told(Turn(0.05, 0.4, 1.0))
    '  5.0 % of a core  p50 0.40 ms  p99 1.00 ms'
    """
    return f"{100 * turn.share:5.1f} % of a core  p50 {turn.p50:.2f} ms  p99 {turn.p99:.2f} ms"


def summary(shut: list[Turn], opened: list[Turn]) -> str:
    """The medians, and how far the p99 of turns of the same kind are apart."""
    lines = []
    for name, turns in (("closed", shut), ("open", opened)):
        middle = Turn(*(median(each) for each in zip(*turns, strict=True)))
        found = sorted(turn.p99 for turn in turns)
        lines.append(f"{name:6} {told(middle)} ({found[0]:.2f} to {found[-1]:.2f})")
    more = [after.p99 - before.p99 for before, after in zip(shut, opened, strict=True)]
    lines.append(f"open - closed in pairs: p99 {median(more):+.2f} ms in the median")
    return "\n".join(lines)


async def main(frontends: int, pages: int, seconds: float, pairs: int) -> None:
    """All pairs, and the difference."""
    gc.disable()

    async def fill(client: redis.asyncio.Redis, backend: str) -> None:
        pipe = client.pipeline()
        for number in range(frontends):
            pipe.rpush(f"frontend:{number}.example", "site", backend)
        await pipe.execute()

    port = free_port()
    async with site(WORKERS, fill, admin={"bind": f"127.0.0.1:{port}"}) as where:
        await ask_each(where, frontends)
        found: dict[int, list[Turn]] = {0: [], pages: []}
        for pair in range(pairs):
            for count in sorted(found, reverse=pair % 2 == 1):
                found[count].append(await turn(where, port, count, seconds, frontends))
    print(summary(found[0], found[pages]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pairs", type=int, default=6)
    options = parser.parse_args()
    uvloop.run(main(options.frontends, options.pages, options.seconds, options.pairs))
