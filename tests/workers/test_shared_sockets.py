"""`server.maxSocketsShared` on real workers: the backend sees no more requests than it may."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.backends import Conversation, ScriptedBackend, answer, scripted
from tests.processes import Service, serve
from tests.whole_proxy import WorkerClient, clients_of

OK = answer(b"ok")


class Busy:
    """A backend that takes its time, and knows how many requests it has at once."""

    def __init__(self) -> None:
        self.now = self.most = self.count = 0
        self.hangs = asyncio.Event()

    async def serve(self, conversation: Conversation) -> None:
        while True:
            request = await conversation.receive()
            self.now, self.count = self.now + 1, self.count + 1
            self.most = max(self.most, self.now)
            try:
                if request.line[1] == b"/hang":
                    self.hangs.set()
                    await conversation.gone()
                    return
                await asyncio.sleep(0.002)  # that is its work
            finally:
                self.now -= 1
            await conversation.send(OK)


@asynccontextmanager
async def shared(
    folder: Path, busy: Busy, sockets: int, workers: int = 3
) -> AsyncIterator[tuple[Service, ScriptedBackend]]:
    async with scripted(busy.serve) as backend:
        (folder / "routes.json").write_text(json.dumps({"a.test": {"backends": [backend.url]}}))
        options = {"maxSockets": sockets, "maxSocketsShared": True, "queueTimeout": 60}
        async with serve(folder, f"file:{folder}/routes.json", workers, **options) as service:
            yield service, backend


async def test_all_workers_together_use_no_more_connections(tmp_path: Path) -> None:
    busy = Busy()
    async with shared(tmp_path, busy, 2) as (service, _):
        for why in ("", "reload"):
            if why:
                service.signal(signal.SIGHUP)
            answers = await asyncio.gather(*(service.ask() for _ in range(30)))
            assert all(each.endswith(b"ok") for each in answers)
        assert await service.saw("worker drained")
        assert (await service.ask()).endswith(b"ok")
    assert (busy.most, busy.count) == (2, 61)


async def test_an_unused_connection_makes_room_at_once(tmp_path: Path) -> None:
    busy = Busy()
    async with shared(tmp_path, busy, 1) as (service, backend):
        clients = await clients_of(service)
        async with asyncio.timeout(16):  # as many looks of the sweep would take longer
            for _ in range(6):
                for client in clients:
                    assert await client.get("a.test") == b"ok"
        assert backend.accepted > 2 * len(clients)
        for client in clients:
            client.close()


async def test_what_a_killed_worker_held_is_free_again(tmp_path: Path) -> None:
    busy = Busy()
    async with shared(tmp_path, busy, 1, workers=2) as (service, _):
        one, two = await clients_of(service)
        one._writer.write(b"GET /hang HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await busy.hangs.wait()
        waiting = asyncio.create_task(two.get("a.test"))
        holder = await holder_of(service, one)
        os.kill(holder, signal.SIGKILL)
        assert await waiting == b"ok"
        assert busy.most == 1
        one.close()
        two.close()
    assert busy.count == 2


async def holder_of(service: Service, client: WorkerClient) -> int:
    [pid] = [
        pid
        for pid in service.workers()
        if any(
            c.raddr and c.raddr.port == client.port for c in psutil.Process(pid).net_connections()
        )
    ]
    return pid
