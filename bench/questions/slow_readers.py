"""What visitors notice of clients that take nothing of large answers, or send nothing of uploads.

    python -m bench.questions.slow_readers [--seconds SECONDS] [--addresses N ...]

One worker with the default limits: 100 connections to the backend. READERS connections of one
address, then of 20 addresses, ask for 20 MB and read nothing of it; those that are cut come back
at once. Then as many begin an upload and send nothing more. Visitors from other
addresses ask for a small page of the same site. The goal: none of their requests fails, the
p99 stays below 3 s in the first SECONDS (5) of each siege, and below 50 ms after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from bench.processes import in_process, serving
from tests.ports import free_port

READERS, VISITORS = 200, 8
PAUSE = 0.02
"""Seconds between two requests of a visitor."""
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (20 << 20) + b"x" * (20 << 20)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ASKS = {
    "read nothing": b"GET /large HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "send nothing": b"POST /up HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9999999\r\n\r\n",
}
GOALS = (3000, 50)
"""The p99 in milliseconds, at first and after."""


def backend(port: int, pipe: Connection) -> None:
    """Answers `/large` with 20 MB, an upload when it is complete, and all else with hello."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await reader.readexactly(9999999)
                writer.write(LARGE if b" /large" in head else SMALL)
                await writer.drain()
        writer.close()

    async def listen() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        pipe.send("ready")
        await server.serve_forever()

    uvloop.run(listen())


def siege(port: int, addresses: int, request: bytes, pipe: Connection) -> None:
    """READERS clients that ask and then do nothing, from so many addresses."""

    async def one(number: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError), socket.socket() as sock:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.bind((f"127.0.2.{1 + number % addresses}", 0))
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.sock_sendall(sock, request)
                # That it is readable says nothing: bytes wait from the first moment on.
                while True:
                    await asyncio.sleep(0.2)
                    if _is_over(sock):
                        break
            await asyncio.sleep(0.01)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(READERS)))

    pipe.send("ready")
    uvloop.run(all_of_them())


def _is_over(sock: socket.socket) -> bool:
    """Whether the proxy has ended the connection: TCP's state, without reading."""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1  # ESTABLISHED


@dataclass
class Visits:
    """What visitors saw."""

    times: list[float] = field(default_factory=list)
    """Milliseconds."""
    failures: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.times, n=100)[98]


async def visit(port: int, seconds: float) -> Visits:
    """Ask for the small page again and again, from addresses that nobody else has."""
    visits, end = Visits(), time.monotonic() + seconds
    await asyncio.gather(*(_visitor(port, n, end, visits) for n in range(VISITORS)))
    return visits


async def _visitor(port: int, number: int, end: float, visits: Visits) -> None:
    writer: asyncio.StreamWriter | None = None
    while time.monotonic() < end:
        began = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(f"127.0.3.{1 + number}", 0)
                )
            writer.write(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise EOFError(head[:60])
            await reader.readexactly(5)
        except (OSError, EOFError) as exc:
            visits.failures.append(repr(exc))
            if writer is not None:
                writer.close()
            writer = None
        visits.times.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(PAUSE)
    if writer is not None:
        writer.close()


@contextmanager
def _proxy(folder: Path, backend_port: int) -> Iterator[int]:
    port = free_port()
    routes = {"site.test": {"backends": [f"http://127.0.0.1:{backend_port}"]}}
    config = {
        "server": {"workers": 1, "accessLog": None, "snapshot": None},
        "http": {"port": port}, "driver": "file:routes.json", "admin": {"bind": None},
        "user": None,
    }  # fmt: skip
    for name, values in (("routes.json", routes), ("config.json", config)):
        (folder / name).write_text(json.dumps(values))
    command = [sys.executable, "-m", "app", "serve", "--config", str(folder / "config.json")]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with serving(command, port, core=0, log=folder / "hipache.log", env=environment):
        yield port


def measure(folder: Path, addresses: int, kind: str, seconds: float) -> bool:
    """Print the figures of one siege; whether the goals were reached."""
    port = free_port()
    with in_process(backend, port), _proxy(folder, port) as proxy:
        uvloop.run(visit(proxy, seconds / 5))  # warms up
        quiet = uvloop.run(visit(proxy, seconds / 2))
        with in_process(siege, proxy, addresses, ASKS[kind]):
            found = [uvloop.run(visit(proxy, seconds * times)) for times in (1, 2)]
    figures = (quiet, *found)
    asked, failed = (sum(len(each) for each in v) for v in (
        [f.times for f in figures], [f.failures for f in figures]))  # fmt: skip
    print(
        f"{READERS} clients of {addresses:2} addresses {kind}: p99 {quiet.p99:5.1f} ms before, "
        f"{found[0].p99:6.1f} ms at first, {found[1].p99:5.1f} ms after; "
        f"{failed} of {asked} failed",
        *figures[0].failures[:3], *found[0].failures[:3], *found[1].failures[:3],
    )  # fmt: skip
    return not failed and all(v.p99 < goal for v, goal in zip(found, GOALS, strict=True))


def main() -> int:
    """Exit status 1 if a goal was missed."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.slow_readers")
    options.add_argument(
        "--seconds", type=float, default=5.0, help="before the siege counts as old"
    )
    options.add_argument("--addresses", type=int, nargs="+", default=[1, 20])
    args = options.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        reached = [
            measure(folder, count, kind, args.seconds) for kind in ASKS for count in args.addresses
        ]
    finally:
        shutil.rmtree(folder)
    return not all(reached)


if __name__ == "__main__":
    sys.exit(main())
