"""The soak: `python -m bench.soak` (make soak), REQUESTS=3000000 in batches of 100,000.

After each batch everybody has gone, and the worker must be as it was: nothing in
flight, no connection, the tasks of the beginning, one line in the access log for every
request. After the last one its memory may be at most 10 MiB over what it was after the
first, and its open files must be those of the beginning.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.processes import CHECKOUT
from bench.soak.watched import SOCKET

MIB = 1 << 20
GROWTH = 10 * MIB
ADMIN = "admin.sock"
METRIC = re.compile(r"^(\w+)(?:\{.*\})? ([0-9.e+]+)$", re.MULTILINE)
SETTLING = 60.0
"""Seconds that a worker has to get back to its beginning; idle backends are kept for 2."""
ROUTES = """
["good.test"]
id = "good"
backends = ["http://127.0.0.1:{good}"]
["bad.test"]
id = "bad"
backends = ["http://127.0.0.1:{bad}", "http://127.0.0.1:{worse}"]
"""


@dataclass(frozen=True)
class Now:
    """The worker at one moment."""

    memory: int
    files: int
    held: dict[str, Any]

    @property
    def idle(self) -> tuple[int, int, int]:
        return self.held["in_flight"], self.held["connections"], self.held["tasks"]


class Service:
    """The proxy under test."""

    def __init__(self, folder: Path, port: int, supervisor: int) -> None:
        self.folder = folder
        self.port = port
        (self.worker,) = psutil.Process(supervisor).children()
        self.lines = 0

    async def now(self) -> Now:
        reader, writer = await asyncio.open_unix_connection(self.folder / SOCKET)
        said = await reader.read()
        if not said:
            raise SystemExit((self.folder / "proxy.log").read_text()[-3000:])
        held = json.loads(said)
        writer.close()
        memory, files = self.worker.memory_info().rss, self.worker.num_fds()
        return Now(memory, files, held)

    async def metrics(self) -> Counter[str]:
        """The sums of all metrics, by name."""
        reader, writer = await asyncio.open_unix_connection(self.folder / ADMIN)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        _, _, text = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        sums: Counter[str] = Counter()
        for name, value in METRIC.findall(text):
            sums[name] += float(value)  # type: ignore[assignment]
        return sums

    def read_log(self) -> int:
        """Count the log's new lines, and take them away: millions would fill the disk."""
        path = self.folder / "access.log"
        with path.open("rb") as log:
            self.lines += sum(block.count(b"\n") for block in iter(lambda: log.read(MIB), b""))
        os.truncate(path, 0)
        return self.lines


@asynccontextmanager
async def started(*argv: str, cwd: Path, output: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of this checkout, ended with the block; standard output is piped."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with output.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def until(what: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not await what():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.1)
    return True


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        ports = []
        for name in ("good", "bad", "worse"):
            argv = sys.executable, "-m", "bench.soak.backend"
            output = folder / f"{name}.log"
            backend = await stack.enter_async_context(started(*argv, cwd=folder, output=output))
            assert backend.stdout is not None
            ports.append(int(await backend.stdout.readline()))
        good, bad, worse = ports
        (folder / "routes.toml").write_text(ROUTES.format(good=good, bad=bad, worse=worse))
        server = {
            "workers": 1, "accessLog": f"{folder}/access.log", "snapshot": None,
            "backendIdleTimeout": 2,
        }  # fmt: skip
        values = {
            "server": server,
            "http": {"port": 0, "http2": True},
            "user": None,
            "memory": {"limit": 0},
        }
        values["admin"] = {"bind": f"unix:{folder}/{ADMIN}"}
        driver = {"driver": f"file:{folder}/routes.toml"}
        (folder / "config.json").write_text(json.dumps(values | driver))
        watched = sys.executable, "-m", "bench.soak.watched", "serve"
        log = folder / "proxy.log"
        proxy = await stack.enter_async_context(started(*watched, cwd=folder, output=log))

        async def ready() -> bool:
            return "worker ready" in log.read_text() and (folder / SOCKET).exists()

        if not await until(ready, 60):
            raise SystemExit(log.read_text())
        address = log.read_text().split("listening address=127.0.0.1:")[1]
        yield Service(folder, int(address.split()[0]), proxy.pid)


async def load(service: Service, requests: int, seed: int, runner: list[str]) -> dict[str, Any]:
    """One batch, by a process of its own."""
    argv = [*runner, sys.executable, "-m", "bench.soak.load", str(service.port)]
    argv += ["--requests", str(requests), "--seed", str(seed)]
    errors = service.folder / "load.log"
    async with started(*argv, cwd=service.folder, output=errors) as process:
        assert process.stdout is not None
        said = await process.stdout.read()
        await process.wait()
    if not said:
        raise SystemExit("the clients ended:\n" + errors.read_text()[-3000:])
    result: dict[str, Any] = json.loads(said)
    return result


class Soak:
    """The batches, and what was found wrong after them."""

    def __init__(self, service: Service, runner: list[str]) -> None:
        self.service = service
        self.runner = runner
        self.done = self.sure = self.maybe = self.refused = 0
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []

    async def batch(self, requests: int, start: Now) -> Now:
        """Load, then wait until everything is as at the start."""
        began = time.monotonic()
        seen = await load(self.service, requests, self.done, self.runner)
        elapsed = time.monotonic() - began
        self.sure += seen["sure"]
        self.maybe += seen["maybe"]
        self.refused += seen["refused"]
        self.done += seen["sure"] + seen["maybe"]
        self.outcomes.update(seen["outcomes"])
        self.faults += seen["failures"]

        async def settled() -> bool:
            return (await self.service.now()).idle == start.idle

        if not await until(settled, SETTLING):
            now = await self.service.now()
            self.faults.append(f"in flight, connections, tasks: {now.idle}, were {start.idle}")
            self.faults.append(str(now.held["names"]))

        async def logged() -> bool:
            return self.service.read_log() >= self.sure

        await until(logged, 10)
        await asyncio.sleep(1.1)  # the log is at most a second late
        lines = self.service.read_log()
        if not self.sure <= lines <= self.sure + self.maybe:
            wanted = f"{self.sure} to {self.sure + self.maybe}"
            self.faults.append(f"the access log has {lines} lines, for {wanted} requests")
        await self._compare_metrics(lines)
        now = await self.service.now()
        print(
            f"{self.done:>9,} requests  {requests / elapsed:6,.0f}/s  {now.memory / MIB:6.1f} MiB  "
            f"{now.held['objects']:,} objects  {now.files} files  {lines:,} lines "
            f"(+{lines - self.sure:,} of {self.maybe:,} uncertain)",
            flush=True,
        )
        return now

    async def _compare_metrics(self, lines: int) -> None:
        """The metrics say what the log and the clients say."""
        found = await self.service.metrics()
        wanted = {
            "hipache_requests_total": lines - self.refused,
            "hipache_requests_in_flight": 0,
            "hipache_client_connections": 0,
            "hipache_queue_length": 0,
            "hipache_websocket_sessions_total": self.outcomes["web socket"],
            "hipache_websocket_sessions_open": 0,
            "hipache_access_log_lines_lost_total": 0,
        }
        self.faults += [
            f"{name} is {found[name]}, not {value}"
            for name, value in wanted.items()
            if found[name] != value
        ]

    def compare_memory(self, first: Now, last: Now) -> None:
        grown = last.memory - first.memory
        print(f"memory grew by {grown / MIB:.1f} MiB since the first batch")
        if grown > GROWTH:
            more = Counter(last.held["types"])
            more.subtract(first.held["types"])
            self.faults.append(f"grown by {grown / MIB:.1f} MiB; objects: {more.most_common(15)}")


async def soak(requests: int, size: int, runner: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="hipache-soak-") as name:
        folder = Path(name)
        async with serving(folder) as service:
            start = await service.now()
            run = Soak(service, runner)
            first = last = await run.batch(min(size, requests), start)
            while run.done < requests and len(run.faults) < 100:
                last = await run.batch(min(size, requests - run.done), start)
            run.compare_memory(first, last)

            async def files_closed() -> bool:
                return (await service.now()).files <= start.files

            if not await until(files_closed, 30):
                files = (await service.now()).files
                run.faults.append(f"{files} files are open, {start.files} were")
        log = (folder / "proxy.log").read_text()
    print(*(f"{count:>10,} {what}" for what, count in run.outcomes.most_common()), sep="\n")
    if "Traceback" in log or "level=error" in log:
        run.faults.append("the proxy's log:\n" + log[log.find("level=error") :][:3000])
    print(*run.faults[:30], sep="\n")
    print("held" if not run.faults else f"{len(run.faults)} faults")
    return bool(run.faults)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=3_000_000)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--runner", type=shlex.split, default=[], help="put before the clients")
    args = parser.parse_args()
    sys.exit(asyncio.run(soak(args.requests, args.batch, args.runner)))
