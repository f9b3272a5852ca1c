"""How connections spread over workers: `python -m bench.questions.spread`.

Opens connections to several workers of `hipache serve`, all at once or one after the other, and
asks something on each. Prints how many the worker with most of them got, in even shares: at 2.00 a
machine with a core for each worker is full at half of what it can do.
"""

from __future__ import annotations

import argparse
import asyncio
from statistics import mean

import psutil

from bench.questions.workers import Service, serving

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
PAUSE = 0.02
"""Seconds between two connections that come one after the other."""


async def opened(port: int) -> asyncio.StreamWriter:
    """A connection on which one request was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await reader.readuntil(b"hello")
    return writer


async def spread(service: Service, count: int, *, at_once: bool) -> list[int]:
    """How many of `count` connections each worker gets, most first."""
    writers = []
    if at_once:
        writers += await asyncio.gather(*(opened(service.port) for _ in range(count)))
    else:
        for _ in range(count):
            writers.append(await opened(service.port))
            await asyncio.sleep(PAUSE)
    got = sorted((connections(each.pid, service.port) for each in service.workers()), reverse=True)
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers))
    while any(connections(each.pid, service.port) for each in service.workers()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return got


def connections(pid: int, port: int) -> int:
    """How many clients of that port a worker has."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(each.status == "ESTABLISHED" and each.laddr.port == port for each in found)


async def measure(workers: int, counts: list[int], rounds: int) -> None:
    async with serving(workers) as service:
        await asyncio.sleep(1)  # until they know of each other
        for count in counts:
            for at_once in (True, False):
                seen = [await spread(service, count, at_once=at_once) for _ in range(rounds)]
                most = [max(each) / (count / workers) for each in seen]
                how = "at once" if at_once else "in turn"
                print(
                    f"{count} connections {how} to {workers} workers: the busiest has "
                    f"{mean(most):.2f} times its share (at most {max(most):.2f}), as {seen[0]}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    asyncio.run(measure(options.workers, options.connections, options.rounds))


if __name__ == "__main__":
    main()
