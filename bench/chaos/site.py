"""What runs: a Redis, two proxies of two workers, backends, and a name server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil

from app.errors import ConfigError
from app.workers.status import ask
from bench.processes import CHECKOUT
from bench.questions.silent_resolver import IN_A_WORLD_OF_ITS_OWN, dns_answer
from tests.ports import free_port
from tests.redis_servers import RedisServer

MARK = "HIPACHE_CHAOS_FOLDER"
WORKERS = 2
WELL = ("well.test", "also.test")
"""The tenants that nobody may hurt."""
HOSTILE = "hostile.test"
NAME_SERVER = "127.0.0.10"
STARTS_WITHIN = 60.0
GRACE = 5
"""Seconds that a worker has to drain."""
METRIC = re.compile(r"^(\w+)(?:\{.*\})? ([0-9.e+-]+)$", re.MULTILINE)
GAUGES = (
    "hipache_requests_in_flight", "hipache_client_connections", "hipache_queue_length",
    "hipache_websocket_sessions_open",
)  # fmt: skip
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@dataclass
class Proxy:
    """A `hipache serve` in a folder of its own, whoever its supervisor is at the moment."""

    folder: Path
    port: int
    command: list[str]
    environ: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    kills: list[tuple[float, float]] = field(default_factory=list)
    """When workers of it were killed, from and to, on the monotonic clock."""

    @property
    def log(self) -> Path:
        return self.folder / "hipache.log"

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, cwd=self.folder, env=self.environ, stdout=output, stderr=output
            )
        await self.serves(self.process.pid)

    async def serves(self, pid: int, seconds: float = STARTS_WITHIN) -> None:
        """Until that supervisor says that all its workers serve, and no other process is left."""
        end = time.monotonic() + seconds
        while True:
            if self.process is not None and self.process.returncode not in {None, 0}:
                raise SystemExit(f"{self.folder.name}:\n{self.log.read_text()[-4000:]}")
            report = await asyncio.to_thread(self.report)
            states = [each["state"] for each in report.get("workers", ())]
            if report.get("pid") == pid and states == WORKERS * ["serving"]:
                return
            if time.monotonic() > end:
                raise SystemExit(f"{self.folder.name}: {report}\n{self.log.read_text()[-4000:]}")
            await asyncio.sleep(0.05)

    def report(self) -> dict[str, Any]:
        """What its status socket says; nothing where nobody answers."""
        try:
            return dict(ask(str(self.folder / "status.sock")))
        except (ConfigError, ValueError):
            return {}

    @property
    def pid(self) -> int:
        """Of the supervisor; 0 where none answers."""
        return int(self.report().get("pid", 0))

    def workers(self) -> list[psutil.Process]:
        """Those of the present supervisor."""
        pid = self.pid
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).children() if pid else []
        return []

    def excuses(self, since: float) -> bool:
        """Whether a request that has been under way since then may have been a killed worker's."""
        now = time.monotonic()
        return any(start <= now and since <= end for start, end in self.kills)

    async def gauges(self) -> Counter[str]:
        """What it counts at this moment, the sums of its workers."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "admin.sock")
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        _, _, text = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        sums: Counter[str] = Counter()
        for name, value in METRIC.findall(text):
            sums[name] += float(value)  # type: ignore[assignment]
        return sums

    async def stop(self) -> None:
        """End it in order."""
        pid = await asyncio.to_thread(lambda: self.pid)
        if pid:
            os.kill(pid, signal.SIGTERM)
            await asyncio.to_thread(gone, pid, 30)


def gone(pid: int, seconds: float) -> None:
    """Wait until a process that need not be our child has ended, so long at most."""
    end = time.monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.05)


class Names(asyncio.DatagramProtocol):
    """Every name leads to 127.0.0.1; those with `bad` in them while it is not silent."""

    silent = True
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.silent or b"\x03bad" not in data:
            self.transport.sendto(dns_answer(data), addr)


class Site:
    """All of it. What cannot be done here (no root, no faketime) is left out of the faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder, "--appendonly", "yes")
        self.proxies: list[Proxy] = []
        self.backends: dict[str, tuple[asyncio.subprocess.Process, int]] = {}
        self.names: Names | None = None
        self.hostile: list[str] = []
        """The backends of the hostile tenant now."""
        self.flushed: list[tuple[float, float]] = []
        """When the routes were gone."""
        self.hanging = socket.create_server(("127.0.0.1", 0), backlog=64)
        """Takes connections and never says a word."""
        self.clock = folder / "clock"
        self.clock_can_be_stepped = FAKETIME.exists()

    async def start(self) -> None:
        """Everything, ready and routed."""
        await self.redis.start()
        for name in ("well-a", "well-b", "also-a", "also-b", "hostile"):
            await self.start_backend(name)
        self.hostile = [self.url("hostile")]
        await self.write_routes()
        await self._start_names()
        for number in range(2):
            self.proxies.append(self._proxy(number, free_port()))
        await asyncio.gather(*(proxy.start() for proxy in self.proxies))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.backends[name][1]}"

    async def start_backend(self, name: str, port: int = 0) -> None:
        """bench.soak's backend, which does what the target says; `port` 0: any."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.soak.backend", str(port), cwd=self.folder,
            env=self._environ(), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        self.backends[name] = process, int(await process.stdout.readline())

    async def write_routes(self) -> None:
        """What the operator does after a flush, too."""
        table = {
            "well.test": [self.url("well-a"), self.url("well-b")],
            "also.test": [self.url("also-a"), self.url("also-b")],
            HOSTILE: self.hostile,
        }
        async with self.redis.client as client, client.pipeline(transaction=True) as pipe:
            for host, urls in table.items():
                pipe.delete(f"frontend:{host}")
                pipe.rpush(f"frontend:{host}", host, *urls)
            await pipe.execute()

    async def _start_names(self) -> None:
        if os.geteuid() or shutil.which("unshare") is None:
            return
        with suppress(OSError):  # another run has the address
            loop = asyncio.get_running_loop()
            _, self.names = await loop.create_datagram_endpoint(Names, local_addr=(NAME_SERVER, 53))
            (self.folder / "resolv.conf").write_text(
                f"nameserver {NAME_SERVER}\noptions timeout:2 attempts:2\n"
            )

    def _environ(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(CHECKOUT), MARK: str(self.folder)}

    def _proxy(self, number: int, port: int) -> Proxy:
        folder = self.folder / f"proxy{number}"
        folder.mkdir()
        server = {
            "workers": WORKERS, "accessLog": "access.log", "snapshot": "routes.json",
            "statusSocket": "status.sock", "gracefulTimeout": GRACE, "maxLoopLag": 0,
            "deadBackendTTL": 2, "deadBackendMaxTTL": 4, "tcpTimeout": 5,
        }  # fmt: skip
        values = {
            "server": server, "http": {"port": port}, "driver": self.redis.url, "user": None,
            "admin": {"bind": f"unix:{folder}/admin.sock"},
            "memory": {"limit": 0, "gracefulWait": GRACE},
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(values))
        command = [sys.executable, "-m", "app", "serve", "--config", str(folder / "config.json")]
        if self.names is not None:
            world = ["unshare", "--mount", "sh", "-c", IN_A_WORLD_OF_ITS_OWN]
            command = [*world, str(self.folder / "resolv.conf"), *command]
        environ = self._environ()
        if number == 1 and self.clock_can_be_stepped:
            self.step_clock(0)
            environ |= {
                "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        return Proxy(folder, port, command, environ)

    def step_clock(self, seconds: int) -> None:
        """Set the clock of the second proxy to so many seconds from now."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.replace(self.clock)

    def everything(self) -> list[psutil.Process]:
        """Every process that was started here and runs, children of nobody included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                here = process.environ().get(MARK) == str(self.folder)
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    async def aclose(self) -> None:
        """End what is left, in whatever state it is."""
        for process in self.everything():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.redis.kill()
        self.hanging.close()
        if self.names is not None:
            self.names.transport.close()
        for backend, _ in self.backends.values():
            await backend.wait()
        for proxy in self.proxies:
            if proxy.process is not None:
                await proxy.process.wait()
