"""What happens to the site. Each fault is over when its function returns."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from redis.exceptions import RedisError

from bench.chaos.site import HOSTILE, Proxy, Site, gone
from tests.ports import free_port

LATE = 1.5
"""Seconds after a kill within which a client may come to know of it on a busy machine."""

Fault = Callable[[Site, random.Random], Awaitable[None]]


@contextmanager
def killing(proxy: Proxy) -> Iterator[None]:
    """What breaks at this proxy meanwhile may have been on a killed worker."""
    start = time.monotonic()
    proxy.kills.append((start, float("inf")))
    try:
        yield
    finally:
        proxy.kills[-1] = start, time.monotonic() + LATE


def some(site: Site, rng: random.Random) -> Proxy:
    return rng.choice(site.proxies)


async def worker_killed(site: Site, rng: random.Random) -> None:
    proxy, number = some(site, rng), rng.randrange(2)
    with killing(proxy):
        workers = await asyncio.to_thread(proxy.workers)
        os.kill(workers[number % len(workers)].pid, signal.SIGKILL)
    await proxy.serves(proxy.pid)


async def worker_stopped(site: Site, rng: random.Random) -> None:
    proxy, number, seconds = some(site, rng), rng.randrange(2), rng.uniform(0.3, 2)
    workers = await asyncio.to_thread(proxy.workers)
    await stopped(workers[number % len(workers)].pid, seconds)


async def supervisor_stopped(site: Site, rng: random.Random) -> None:
    proxy, seconds = some(site, rng), rng.uniform(0.3, 2)
    await stopped(await asyncio.to_thread(lambda: proxy.pid), seconds)


async def stopped(pid: int, seconds: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def supervisor_killed(site: Site, rng: random.Random) -> None:
    """Its workers go with it; a new one is started, as systemd does."""
    proxy = some(site, rng)
    pid = await asyncio.to_thread(lambda: proxy.pid)
    with killing(proxy):
        workers = await asyncio.to_thread(proxy.workers)
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, workers, 20)
        if proxy.process is not None and proxy.process.pid == pid:
            await proxy.process.wait()
        await proxy.start()


async def redis_killed(site: Site, rng: random.Random) -> None:
    """It knows its routes when it is back."""
    site.redis.kill()
    await asyncio.sleep(rng.uniform(0.1, 3))
    await site.redis.start()


async def redis_stopped(site: Site, rng: random.Random) -> None:
    assert site.redis.process is not None
    await stopped(site.redis.process.pid, rng.uniform(0.3, 4))


async def redis_flushed(site: Site, rng: random.Random) -> None:
    """The operator writes the routes again a moment later."""
    start = time.monotonic()
    site.flushed.append((start, float("inf")))
    try:
        async with site.redis.client as client:
            await client.flushall()
        await asyncio.sleep(rng.uniform(0.05, 0.5))
        await site.write_routes()
    finally:
        site.flushed[-1] = start, time.monotonic() + LATE


async def reloaded(site: Site, rng: random.Random) -> None:
    proxy = some(site, rng)
    pid = await asyncio.to_thread(lambda: proxy.pid)
    os.kill(pid, signal.SIGHUP)
    await asyncio.sleep(rng.uniform(0, 1))
    await proxy.serves(pid)


async def upgraded(site: Site, rng: random.Random) -> None:
    proxy = some(site, rng)
    pid = await asyncio.to_thread(lambda: proxy.pid)
    os.kill(pid, signal.SIGUSR2)
    end = time.monotonic() + 60
    while (new := await asyncio.to_thread(lambda: proxy.pid)) in (0, pid):
        if time.monotonic() > end:
            raise SystemExit(f"no upgrade:\n{proxy.log.read_text()[-4000:]}")
        await asyncio.sleep(0.1)
    await proxy.serves(new)
    await asyncio.to_thread(gone, pid, 60)


async def disk_full(site: Site, rng: random.Random) -> None:
    """No worker can write a byte more into a file; what it says meanwhile is lost, no request."""
    proxy, seconds = some(site, rng), rng.uniform(0.5, 2)
    workers = await asyncio.to_thread(proxy.workers)
    limited = []
    for worker in workers:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (1, hard))
            limited.append((worker.pid, hard))
    await asyncio.sleep(seconds)
    for pid, hard in limited:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


async def clock_stepped(site: Site, rng: random.Random) -> None:
    """Of one of the proxies."""
    site.step_clock(rng.choice((-3600, -30, 30, 3600)))
    await asyncio.sleep(rng.uniform(0.5, 2))
    site.step_clock(0)


# The hostile tenant's.


async def backend_refuses(site: Site, rng: random.Random) -> None:
    await _hostile(site, rng, [f"http://127.0.0.1:{free_port()}" for _ in range(3)])


async def backend_hangs(site: Site, rng: random.Random) -> None:
    port = site.hanging.getsockname()[1]
    await _hostile(site, rng, [f"http://127.0.0.1:{port}", site.url("hostile")])


async def backend_flaps(site: Site, rng: random.Random) -> None:
    for _ in range(3):
        process, port = site.backends["hostile"]
        process.kill()
        await process.wait()
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        await site.start_backend("hostile", port)
        await asyncio.sleep(rng.uniform(0.1, 0.5))


async def resolver_silent(site: Site, rng: random.Random) -> None:
    port = site.backends["hostile"][1]
    await _hostile(site, rng, [f"http://x{rng.randrange(10**6)}.bad.test:{port}" for _ in range(5)])


async def long_list(site: Site, rng: random.Random) -> None:
    """As many backends as are used, and more."""
    await _hostile(site, rng, [f"{site.url('hostile')}/{number}" for number in range(5000)])


async def _hostile(site: Site, rng: random.Random, urls: list[str]) -> None:
    site.hostile = urls
    await _written(site)
    await asyncio.sleep(rng.uniform(0.5, 3))
    site.hostile = [site.url("hostile")]
    await _written(site)


async def _written(site: Site) -> None:
    with suppress(RedisError, OSError):
        async with site.redis.client as client, client.pipeline(transaction=True) as pipe:
            pipe.delete(f"frontend:{HOSTILE}")
            pipe.rpush(f"frontend:{HOSTILE}", HOSTILE, *site.hostile)
            await pipe.execute()


ALL: tuple[Fault, ...] = (
    worker_killed, worker_stopped, supervisor_killed, supervisor_stopped, redis_killed,
    redis_stopped, redis_flushed, reloaded, upgraded, disk_full, clock_stepped, backend_refuses,
    backend_hangs, backend_flaps, resolver_silent, long_list,
)  # fmt: skip


def possible(site: Site, only: list[str]) -> list[Fault]:
    """Those that can be brought about on this machine; of these names, if there are any."""
    missing = set[Fault]()
    if site.names is None:
        missing.add(resolver_silent)
    if not site.clock_can_be_stepped:
        missing.add(clock_stepped)
    wanted = [fault for fault in ALL if not only or fault.__name__ in only]
    return [fault for fault in wanted if fault not in missing]


def without_end(faults: list[Fault], rng: random.Random) -> Iterator[Fault]:
    """All in an order of their own, again and again: none stays away for long."""
    while True:
        order = faults.copy()
        rng.shuffle(order)
        yield from order


def left_sockets(folder: Path) -> list[str]:
    """Socket files that nobody removed."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_socket()]
