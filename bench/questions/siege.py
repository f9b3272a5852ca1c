"""Slow senders, slow readers and a flood at once: `python -m bench.questions.siege [--slow 2000]`.

One worker of `hipache serve`. Normal clients on the side are measured twice, alone and
during the siege; their p99 may grow to three times, and none of their requests may fail.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop

from bench import procfs
from bench.processes import CHECKOUT, pinned
from bench.soak.__main__ import until

CLIENTS = 8
PAUSE = 0.02
"""Seconds between two requests of a normal client: 8 of them ask for at most 400 a second."""
FILES = 16384
SLOW_BODY = 1 << 20
SLOWLORIS = b"GET / HTTP/1.1\r\nHost: good.test\r\nX-Slow: "
READER = b"GET /plain/%d HTTP/1.1\r\nHost: slow.test\r\n\r\n" % SLOW_BODY
RESET = struct.pack("ii", 1, 0)
ROUTES = """
["good.test"]
id = "good"
backends = ["http://127.0.0.1:{good}"]
["slow.test"]
id = "slow"
backends = ["http://127.0.0.1:{slow}"]
"""


@dataclass
class Load:
    """Normal clients."""

    port: int
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def run(self, seconds: float) -> float:
        """The p99 in milliseconds."""
        self.times.clear()
        end = time.monotonic() + seconds
        await asyncio.gather(*(self.client(end) for _ in range(CLIENTS)))
        return 1000 * sorted(self.times)[int(len(self.times) * 0.99)]

    async def client(self, end: float) -> None:
        request = b"GET /plain/100 HTTP/1.1\r\nHost: good.test\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while time.monotonic() < end:
            began = time.perf_counter()
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise EOFError(head[:60])
                await reader.readexactly(100)
            except (OSError, EOFError) as exc:
                self.failures.append(repr(exc))
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.times.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)
        writer.close()


@dataclass
class Attack:
    """The siege, in a process of its own: prints what it holds once it stands."""

    port: int
    slow: int
    flood: int
    """New connections a second."""
    flooded: int = 0
    held: int = 0

    async def run(self) -> None:
        tasks = [asyncio.create_task(self.slowloris()) for _ in range(self.slow)]
        tasks += [asyncio.create_task(self.reader()) for _ in range(self.slow)]
        while self.held < 2 * self.slow:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        print("standing", flush=True)
        tasks.append(asyncio.create_task(self.flooding()))
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        print(self.flooded, flush=True)

    async def slowloris(self) -> None:
        """A head that never ends, again whenever the server has had enough of it."""
        first = True
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(SLOWLORIS)
                self.held += first
                first = False
                while not writer.is_closing():
                    await asyncio.sleep(2)
                    writer.write(b"a")
                    await writer.drain()
            await asyncio.sleep(0.1)

    async def reader(self) -> None:
        """Asks for much and takes next to nothing of it."""
        loop, first = asyncio.get_running_loop(), True
        while True:
            with suppress(OSError), socket.socket() as sock:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await loop.sock_connect(sock, ("127.0.0.1", self.port))
                await loop.sock_sendall(sock, READER)
                while await loop.sock_recv(sock, 512):
                    self.held += first
                    first = False
                    await asyncio.sleep(5)
            await asyncio.sleep(0.1)

    async def flooding(self) -> None:
        """Connections that say nothing, or half a line, and go."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            for _ in range(max(1, self.flood // 50)):
                with suppress(OSError), socket.socket() as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    sock.setblocking(False)
                    await loop.sock_connect(sock, ("127.0.0.1", self.port))
                    if self.flooded % 2:
                        await loop.sock_sendall(sock, b"GET / HT")
                self.flooded += 1
            await asyncio.sleep(max(0.0, began + self.flooded / self.flood - loop.time()))


@asynccontextmanager
async def started(
    core: int, *argv: str, cwd: Path, log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program on one core; its whole group ends with the block."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *pinned(core, [sys.executable, "-m", *argv]),
            cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def siege(args: argparse.Namespace) -> int:
    core, other = procfs.cores()
    with tempfile.TemporaryDirectory(prefix="hipache-siege-") as name:
        folder = Path(name)
        ports: list[int] = []
        async with _backends(other, folder, ports):
            good, slow = ports
            (folder / "routes.toml").write_text(ROUTES.format(good=good, slow=slow))
            server = {
                "workers": 1,
                "accessLog": None,
                "snapshot": None,
                "maxSockets": 2 * args.slow,
            }
            values = {
                "server": server, "http": {"port": 0}, "admin": {"bind": None}, "user": None,
                "memory": {"limit": 0}, "driver": f"file:{folder}/routes.toml",
            }  # fmt: skip
            (folder / "config.json").write_text(json.dumps(values))
            log = folder / "proxy.log"
            async with started(core, "app.cli", "serve", cwd=folder, log=log) as proxy:

                async def ready() -> bool:
                    return "worker ready" in log.read_text()

                if not await until(ready, 60):
                    raise SystemExit(log.read_text())
                port = int(log.read_text().split("address=127.0.0.1:")[1].split()[0])
                return await _measure(port, proxy.pid, folder, args)


@asynccontextmanager
async def _backends(core: int, folder: Path, ports: list[int]) -> AsyncIterator[None]:
    def backend() -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        return started(core, "bench.soak.backend", cwd=folder, log=folder / "backend.log")

    async with backend() as good, backend() as slow:
        for each in (good, slow):
            assert each.stdout is not None
            ports.append(int(await each.stdout.readline()))
        yield


async def _measure(port: int, supervisor: int, folder: Path, args: argparse.Namespace) -> int:
    slow, flood, seconds, times = args.slow, args.flood, args.seconds, args.times
    (worker,) = psutil.Process(supervisor).children()
    load = Load(port)
    await load.run(min(1.0, seconds))
    quiet = await load.run(seconds)
    argv = (
        "bench.questions.siege",
        "--attack",
        f"{port}",
        "--slow",
        f"{slow}",
        "--flood",
        f"{flood}",
    )
    where = {"cwd": folder, "log": folder / "attack.log"}
    async with started(procfs.cores()[1], *argv, **where) as attack:
        assert attack.stdout is not None
        async with asyncio.timeout(120):
            if not await attack.stdout.readline():
                raise SystemExit((folder / "attack.log").read_text()[-3000:])
        cpu = worker.cpu_times()
        before = cpu.user + cpu.system
        during = await load.run(seconds)
        cpu = worker.cpu_times()
        busy = (cpu.user + cpu.system - before) / seconds
        attack.terminate()
        flooded = int(await attack.stdout.readline())
        files, memory = worker.num_fds(), worker.memory_info().rss / (1 << 20)
    print(
        f"p99 {quiet:.2f} ms alone, {during:.2f} ms besieged: {during / quiet:.1f} times; "
        f"{flooded:,} connections flooded in; "
        f"{len(load.times):,} requests, {len(load.failures)} failed; "
        f"worker: {busy:.0%} busy, {files:,} files, {memory:.0f} MiB"
    )
    print(*load.failures[:10], sep="\n")
    return bool(load.failures) or during > times * quiet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.questions.siege", description=__doc__)
    parser.add_argument("--slow", type=int, default=2000, help="senders, and as many readers")
    parser.add_argument("--flood", type=int, default=1000, help="new connections a second")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--times", type=float, default=3, help="by which the p99 may grow")
    parser.add_argument("--attack", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    if args.attack:
        os.nice(10)
        uvloop.run(Attack(args.attack, args.slow, args.flood).run())
    else:
        sys.exit(uvloop.run(siege(args)))
