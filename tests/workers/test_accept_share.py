"""New connections come to all workers alike, and one that hangs or dies keeps none waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.processes import ROOT, Service, program, write_config
from tests.whole_proxy import WorkerClient

ENVIRON = os.environ | {"PYTHONPATH": str(ROOT)}
PATIENT = "accept_share.PATIENCE = 60\n"
IMPORTS = "from app import cli\nfrom app.server import accept_share\n"


class Clients:
    """The connections to a service of two workers."""

    def __init__(self, service: Service) -> None:
        self.workers = service.workers()
        self._port = service.port
        self._all: list[WorkerClient] = []

    async def connect(self) -> WorkerClient:
        """One more, which a worker has accepted or will accept."""
        client = WorkerClient(*await asyncio.open_connection("127.0.0.1", self._port))
        self._all.append(client)
        return client

    async def served(self) -> WorkerClient:
        """One more, with an answer."""
        client = await self.connect()
        await client.get("__ping__")
        return client

    def worker_of(self, client: WorkerClient) -> int:
        """Which one has accepted it."""
        [found] = [pid for pid in self.workers if client.port in peers(pid)]
        return found

    def close(self) -> None:
        for client in self._all:
            client.close()


def peers(pid: int) -> set[int]:
    """The ports of those that a process is connected with."""
    return {it.raddr.port for it in psutil.Process(pid).net_connections() if it.raddr}


def pause(pid: int) -> Callable[[], None]:
    """Stop a process, which stands still when this returns; what is returned lets it go on."""
    os.kill(pid, signal.SIGSTOP)
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        pass
    return lambda: os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def clients(folder: Path, changes: str = "") -> AsyncIterator[Clients]:
    """Those of two workers that know of each other."""
    (folder / "routes.json").write_text("{}")
    write_config(folder, f"file:{folder}/routes.json")
    code = f"{IMPORTS}{changes}cli.main(['serve'])"
    async with program(sys.executable, "-c", code, cwd=folder, environ=ENVIRON) as service:
        await service.ready(2)
        await asyncio.sleep(0.4)  # a worker looks for others four times a second
        found = Clients(service)
        try:
            yield found
        finally:
            found.close()


async def test_a_worker_that_has_more_leaves_the_next_to_the_other(tmp_path: Path) -> None:
    async with clients(tmp_path, PATIENT) as of:
        busy, other = of.workers
        go_on = pause(other)
        first = [await of.served(), await of.served()]
        third = asyncio.ensure_future(of.served())
        await asyncio.sleep(0.2)
        assert not third.done()
        go_on()
        owners = [of.worker_of(client) for client in [*first, await third]]
        assert owners == [busy, busy, other]


async def test_nobody_waits_for_long_where_a_worker_hangs(tmp_path: Path) -> None:
    async with clients(tmp_path) as of:
        pause(of.workers[1])
        async with asyncio.timeout(5):
            for _ in range(5):
                await of.served()


async def test_a_worker_that_loses_connections_takes_some_again(tmp_path: Path) -> None:
    async with clients(tmp_path, PATIENT) as of:
        pause(of.workers[1])
        for _ in range(5):
            (await of.served()).close()
