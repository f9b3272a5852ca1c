"""A worker's routes in a process of their own, which can be killed and stopped.

As a program: `URL FOLDER`. It says "ready", and then for each host that it reads from its standard
input which URL serves it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.config.lru_cache import LruCache
from app.config.structs import Config, ServerConfig
from app.errors import ProxyError
from app.stores import CachedStore, open_store
from tests.processes import ROOT


def opened(url: str, folder: Path) -> CachedStore:
    """One worker of the proxy that has this folder."""
    server = ServerConfig(snapshot=None, workers=2, lru_cache=LruCache(ttl=0.2))
    return open_store(Config(driver=(url,), server=server), folder)


async def url_of(store: CachedStore, host: str) -> str:
    """Where a request for it would go now; empty: nowhere."""
    try:
        route = store.known(host) or await store.find(host)
    except ProxyError:
        return ""
    return route.frontend.backends[0].url


class Sibling:
    """Such a process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def says(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def url_of(self, host: str) -> str:
        """As of the stores of this process."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{host}\n".encode())
        return await self.says()

    def signal(self, number: signal.Signals) -> None:
        """To it alone."""
        self.process.send_signal(number)


@asynccontextmanager
async def sibling(url: str, folder: Path) -> AsyncIterator[Sibling]:
    """Killed at the end, if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, url, str(folder), stdin=PIPE, stdout=PIPE, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found = Sibling(process)
    try:
        assert await found.says() == "ready"
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def _main(url: str, folder: Path) -> None:
    store = opened(url, folder)
    await store.start()
    print("ready", flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        print(await url_of(store, line.decode().strip()), flush=True)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
