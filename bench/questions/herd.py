"""What the workers of one proxy ask of Redis when they may rely on nothing that they know.

    python -m bench.questions.herd [--hosts 500] [--workers 8] [--rounds 3]

Each worker is our real store client; all of them live in this process. In each round every worker
is asked for all hosts, in the same order, right after its memory was declared old, as after an
outage. Told are the reads that Redis saw, once with workers that share them and once without.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from app.config.store_address import StoreAddress
from app.config.structs import Config, ServerConfig
from app.stores import CachedStore, open_store
from tests.redis_servers import RedisServer

COMMANDS = 4
"""LRANGE of one read of `www.N.example`: one for each key that could serve it."""


async def seen(server: RedisServer) -> float:
    """Reads that the server has answered."""
    async with server.client as client:
        found = await client.info("commandstats")
    return float(found.get("cmdstat_lrange", {}).get("calls", 0)) / COMMANDS


async def rounds(
    server: RedisServer, hosts: list[str], workers: int, count: int, *, share: bool
) -> None:
    """Print each round."""
    config = Config(driver=(StoreAddress(server.url),), server=ServerConfig(snapshot=None))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        stores: list[CachedStore] = []
        for _ in range(workers):
            stores.append(open_store(config, folder if share else None))
            stack.push_async_callback(stores[-1].aclose)
            await stores[-1].start()
        for _ in range(count):
            for store in stores:
                store.everything_changed()
            before, started, spent = await seen(server), time.monotonic(), time.process_time()
            finds = [store.find(host) for host in hosts for store in stores]
            found = await asyncio.gather(*finds, return_exceptions=True)
            failed = sum(isinstance(each, BaseException) for each in found)
            print(
                f"{'shared' if share else 'alone ':6} {workers} workers x {len(hosts)} hosts: "
                f"{await seen(server) - before:.0f} reads, {time.monotonic() - started:.2f} s, "
                f"CPU {time.process_time() - spent:.2f} s, {failed} failed",
                flush=True,
            )


async def measure(hosts: int, workers: int, count: int) -> None:
    """Fill a server; then measure both ways."""
    names = [f"www.{number}.example" for number in range(hosts)]
    with tempfile.TemporaryDirectory() as name:
        server = await RedisServer(Path(name)).start()
        try:
            async with server.client as client, client.pipeline() as pipe:
                for host in names:
                    pipe.rpush(f"frontend:{host}", host, "http://127.0.0.1:1")
                await pipe.execute()
            for share in (False, True):
                await rounds(server, names, workers, count, share=share)
        finally:
            server.kill()


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=500)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    uvloop.run(measure(arguments.hosts, arguments.workers, arguments.rounds))


if __name__ == "__main__":
    main()
