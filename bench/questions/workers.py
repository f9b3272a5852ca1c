"""Do clients notice that workers come and go? Run `python -m bench.questions.workers --help`.

replace   keep-alive clients while every worker is recycled and reloaded again and again
leak      1 MB lost with every request: does memory stay near its limit?
chaos     workers killed with -9 under load: who else fails?
stop      SIGTERM under load: how long until nothing is left?
start     from the command to the first answer
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil

from app.workers.status import ask
from bench.processes import CHECKOUT, ending_in_order
from bench.questions.keep_alive_load import Load

CLIENTS = 32
MIB = 1 << 20

PREPARED = """
import sys
from app import cli
from app.main import create_app
from app.server.running import running_server
from app.workers import serve

LOST = []

class Commanded:
    def __init__(self, app):
        self.app = app

    def __call__(self, scope, receive, send):
        path = scope.get("path")
        if path == "/recycle":
            running_server().ask_for_recycling("bench")
        elif path == "/leak":
            LOST.append(bytearray(b"x" * (1 << 20)))
        return self.app(scope, receive, send)

def prepared(*args, **kwargs):
    app = create_app(*args, **kwargs)
    app.add_middleware(Commanded)
    return app

serve.create_app = prepared
sys.exit(cli.main(["serve"]))
"""
"""`hipache serve` with two paths more: one asks for recycling, one leaks."""


@dataclass
class Service:
    process: asyncio.subprocess.Process
    folder: Path
    started: float
    port: int = 0
    log: list[str] = field(default_factory=list)
    least_serving: int = 99
    least_report: Any = None

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.log)

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.log.append(line.rstrip())
            if match := re.search(r"listening address=127.0.0.1:(\d+)", line):
                self.port = int(match[1])

    async def until(self, pattern: str, times: int) -> None:
        while self.count(pattern) < times:
            if self.process.returncode is not None:
                raise SystemExit("\n".join(["the service ended:", *self.log[-20:]]))
            await asyncio.sleep(0.01)

    async def watch(self) -> None:
        """Note how many workers serve at the least."""
        while True:
            report = await asyncio.to_thread(ask, str(self.folder / ".hipache/status.sock"))
            serving = sum(each["state"] == "serving" for each in report["workers"])
            if serving < self.least_serving:
                self.least_serving, self.least_report = serving, report
            await asyncio.sleep(0.05)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, EOFError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    writer.close()


@asynccontextmanager
async def serving(workers: int, **config: Any) -> AsyncIterator[Service]:
    """The service with one backend, all workers ready."""
    backend = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = backend.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "routes.toml").write_text(
            f'["a.test"]\nid = "bench"\nbackends = ["http://127.0.0.1:{port}"]\n'
        )
        server = {"workers": workers, "accessLog": None} | config.pop("server", {})
        values = {"server": server, "http": {"port": 0}, "driver": "file:routes.toml"}
        (folder / "config.json").write_text(json.dumps(values | {"user": None} | config))
        started = monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PREPARED, cwd=folder, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )  # fmt: skip
        service = Service(process, folder, started)
        reading = asyncio.create_task(service.read_log())
        try:
            with ending_in_order():
                await service.until("worker ready", workers)
                yield service
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading
            backend.close()


@asynccontextmanager
async def clients(load: Load, count: int = CLIENTS, want: int = 0) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(load.client(want)) for _ in range(count)]
    try:
        yield
        if want:
            await asyncio.gather(*tasks)
    finally:
        load.stopping = True
        await asyncio.gather(*tasks)


async def replace(requests: int, recycles: int, reloads: int) -> bool:
    """Every worker recycled and reloaded so often, and at least so many requests."""
    async with serving(2) as service:
        load = Load(service.port)
        watching = asyncio.create_task(service.watch())
        async with clients(load):
            drained = 0
            for _ in range(reloads):
                service.process.send_signal(signal.SIGHUP)
                drained += 2
                await service.until("worker ended", drained)
            for _ in range(2 * recycles):
                drained += 1
                while service.count("why=replaced") < drained:
                    async with clients(Load(service.port, b"/recycle"), 1, want=1):
                        pass
                    await asyncio.sleep(0.1)
                await service.until("worker ended", drained)
            while load.served < requests and service.process.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        watching.cancel()
    print(
        f"replace: {load.served} served, {len(load.failures)} failed, {load.refused} refused, "
        f"{load.resent} sent again after an idle close; {service.count('worker ended')} workers "
        f"replaced; at least {service.least_serving} of 2 serving at any time"
    )
    if service.least_serving < 2:
        print(service.least_report)
    print("\n".join(load.failures[:5]), end="")
    enough = load.served >= requests and service.least_serving >= 2
    return enough and not load.failures and not load.refused


async def leak(requests: int, rate: float) -> bool:
    """`rate` leaking requests a second, in total, against a limit of 200 MB."""
    limit, largest = 200, 0.0
    async with serving(2, memory={"limit": limit, "gracefulWait": 10}) as service:
        load = Load(service.port, b"/leak")
        for _ in range(requests):
            async with clients(Load(service.port, b"/leak"), 1, want=1) as _:
                pass
            load.served += 1
            await asyncio.sleep(1 / rate)
            with suppress(psutil.Error):
                sizes = [each.memory_info().rss / MIB for each in service.workers()]
                largest = max(largest, *sizes)
        replaced = service.count("why=replaced")
    print(
        f"leak: {load.served} requests of 1 MB each at {rate:.0f}/s, largest worker {largest:.0f} "
        f"MB of {limit} (+{100 * largest / limit - 100:.0f} %), {replaced} replaced"
    )
    return largest <= 1.2 * limit and replaced > 0


async def chaos(seconds: float) -> bool:
    """A random worker killed every second. A killed one takes its own requests with it."""
    kills, taken = 0, set[int]()
    async with serving(2) as service:
        load = Load(service.port)
        async with clients(load):
            end = monotonic() + seconds
            while monotonic() < end:
                await asyncio.sleep(1.0)
                with suppress(psutil.Error, IndexError):
                    taken |= kill(random.choice(service.workers()), service.port)
                    kills += 1
    others = len(set(load.broken) - taken) + sum(it.startswith("HTTP/") for it in load.failures)
    print(
        f"chaos: {load.served} served, {kills} workers killed, {len(load.broken)} requests broke, "
        f"{others} failed that were not with a killed worker, {load.refused} refused"
    )
    return bool(load.broken) and not others and not load.refused


def kill(worker: psutil.Process, port: int) -> set[int]:
    """Kill a worker; the ports of the clients that it had. It is stopped while they are noted."""
    worker.send_signal(signal.SIGSTOP)
    while worker.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
        sleep(0.001)  # on a busy machine it may still be accepting a connection
    connections = worker.net_connections("tcp")
    worker.kill()
    return {each.raddr.port for each in connections if each.raddr and each.laddr.port == port}


async def _idle_stop() -> float:
    """Seconds that it takes on this machine now where nobody has to be waited for."""
    async with serving(2) as service:
        began = monotonic()
        service.process.terminate()
        await service.process.wait()
        return monotonic() - began


async def stop() -> bool:
    """SIGTERM while clients ask and some wait for an answer that never comes."""
    grace, idle = 2.0, await _idle_stop()
    async with serving(2, server={"gracefulTimeout": grace, "tcpTimeout": 60}) as service:
        silent = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        routes = service.folder / "routes.toml"
        routes.write_text(routes.read_text() + f'["s.test"]\nbackends = ["127.0.0.1:{port}"]\n')
        workers, load = service.workers(), Load(service.port)
        await asyncio.sleep(1.5)  # the file is looked at every second
        waiting = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(8)]
        for _, writer in waiting:
            writer.write(b"GET / HTTP/1.1\r\nHost: s.test\r\n\r\n")
        async with clients(load):
            await asyncio.sleep(0.5)
            began = monotonic()
            service.process.terminate()
            await service.process.wait()
            took = monotonic() - began
        left = [each for each in workers if each.is_running()]
        socket_left = (service.folder / ".hipache/status.sock").exists()
        for _, writer in waiting:
            writer.transport.abort()
        silent.close()
    print(
        f"stop: {took:.2f} s with a grace of {grace} s ({idle:.2f} s where nobody waits), "
        f"status {service.process.returncode}, "
        f"{len(left)} orphans, socket file {'left' if socket_left else 'gone'}"
    )
    return (
        took <= grace + max(1.0, 3 * idle)
        and not left
        and not socket_left
        and not service.process.returncode
    )


async def start(rounds: int) -> bool:
    """From the command to the first answer, 2 workers."""
    times = []
    for _ in range(rounds):
        async with serving(2) as service:
            async with clients(Load(service.port), 1, want=1):
                pass
            times.append(monotonic() - service.started)
    best, middle = min(times), sorted(times)[len(times) // 2]
    print(f"start: {middle:.2f} s to the first answer (median of {rounds}, best {best:.2f} s)")
    return middle <= 1.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["start", "stop", "leak", "chaos", "replace"])
    parser.add_argument("--requests", type=int, default=200_000, help="of replace")
    parser.add_argument("--recycles", type=int, default=10, help="of every worker, in replace")
    parser.add_argument("--reloads", type=int, default=5, help="SIGHUPs in replace")
    parser.add_argument("--leaks", type=int, default=1000, help="requests of leak")
    parser.add_argument("--rate", type=float, default=20, help="leaking requests a second")
    parser.add_argument("--seconds", type=float, default=60, help="of chaos")
    options = parser.parse_args()
    runs: dict[str, Callable[[], Coroutine[Any, Any, bool]]] = {
        "start": lambda: start(5),
        "stop": stop,
        "leak": lambda: leak(options.leaks, options.rate),
        "chaos": lambda: chaos(options.seconds),
        "replace": lambda: replace(options.requests, options.recycles, options.reloads),
    }
    results = [asyncio.run(runs[name]()) for name in options.what]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
