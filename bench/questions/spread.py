"""How connections spread over workers: `python -m bench.questions.spread`.

Opens connections to several workers of `hipache serve`, all at once or one after the other, and
asks something on each. Prints how many the worker with most of them got, in even shares: at 2.00 a
machine with a core for each worker is full at half of what it can do.

With `--idle` a worker begins beside others that have so many idle connections each. Then clients
come with a connection for each request, and it prints how many each worker got, the new one first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from statistics import mean

import psutil

from app.workers.status import ask
from bench.questions.workers import Service, serving

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
PAUSE = 0.02
"""Seconds between two connections that come one after the other."""
SHORT = 1000
"""Connections that end with their request, where a worker has just begun."""
CLIENTS = 8
"""So many make them, one after the other."""
REPORTED = 2.5
"""Seconds until the supervisor knows what its workers have answered."""


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


async def requests(service: Service) -> dict[int, int]:
    """How many each worker has answered."""
    await asyncio.sleep(REPORTED)
    report = await asyncio.to_thread(ask, str(service.folder / ".hipache/status.sock"))
    return {each["pid"]: each["requests"] for each in report["workers"]}


async def beside_idle(workers: int, idle: int) -> None:
    """A worker ends where all have so many, and another one begins."""
    async with serving(workers) as service:
        await asyncio.sleep(1)
        kept = [await opened(service.port) for _ in range(idle * workers)]
        [old, *_] = service.workers()
        os.kill(old.pid, signal.SIGKILL)
        await service.until("worker ready", workers + 1)
        before = await requests(service)

        async def short(count: int) -> None:
            for _ in range(count):
                (await opened(service.port)).close()

        await asyncio.gather(*(short(SHORT // CLIENTS) for _ in range(CLIENTS)))
        after = await requests(service)
        got = [after[pid] - before[pid] for pid in sorted(after, reverse=True)]
        print(f"beside {idle} idle ones each: {got[0]} of {sum(got)} came to the new one, as {got}")
        for writer in kept:
            writer.close()


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
    parser.add_argument("--idle", type=int, help="a worker begins beside so many idle ones")
    options = parser.parse_args()
    if options.idle is not None:
        asyncio.run(beside_idle(options.workers, options.idle))
        return
    asyncio.run(measure(options.workers, options.connections, options.rounds))


if __name__ == "__main__":
    main()
