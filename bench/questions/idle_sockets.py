"""What an idle WebSocket costs: `python -m bench.questions.idle_sockets [--sockets 5000]`.

Opens idle sockets through one worker of `hipache serve`, in a tunnel and in
the relay, and prints the worker's growth in resident memory per socket. Then
the backend sends 16 messages of 1 KiB to each of them, and 32 MiB to one that
reads nothing: prints how far the worker grew, and how long the others took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, cast

import psutil
import uvloop

from bench.compare.ws_load import KEY
from bench.echo import accept_key
from bench.processes import CHECKOUT
from tests.ports import free_port

FRAME = b"\x82\x7e" + (1020).to_bytes(2, "big") + bytes(1020)
BROADCAST = 16 * len(FRAME)
FLOOD = 32 * 1024 * 1024
REQUEST = (
    b"GET %b HTTP/1.1\r\nHost: idle.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


class Backend(asyncio.Protocol):
    """Accepts every handshake; says nothing until it is told to."""

    every: ClassVar[set[Backend]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.head = b""
        self.every.add(self)

    def data_received(self, data: bytes) -> None:
        if self.head.endswith(b"\r\n\r\n"):
            return
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            lines = self.head.lower().split(b"\r\n")
            at = next(i for i, line in enumerate(lines) if line.startswith(b"sec-websocket-key:"))
            key = self.head.split(b"\r\n")[at].partition(b":")[2].strip()
            self.transport.write(SWITCH % accept_key(key))

    def connection_lost(self, exc: Exception | None) -> None:
        self.every.discard(self)


class Client(asyncio.Protocol):
    """Asks for a WebSocket and counts what comes."""

    def __init__(self, target: bytes = b"/") -> None:
        self.target = target
        loop = asyncio.get_running_loop()
        self.open = loop.create_future()
        self.full = loop.create_future()
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(REQUEST % (self.target, KEY))

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            assert data.startswith(b"HTTP/1.1 101"), data
            self.open.set_result(None)
            return
        self.received += len(data)
        if self.received >= BROADCAST and not self.full.done():
            self.full.set_result(None)


@contextmanager
def hipache(backend: int, *, relay: bool) -> Iterator[tuple[int, psutil.Process]]:
    """One worker; its port and its process."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        (Path(folder) / "routes.toml").write_text(
            f'["idle.test"]\nid = "idle"\nbackends = ["http://127.0.0.1:{backend}"]\n'
        )
        keys = {"workers": 1, "accessLog": None, "snapshot": None, "webSocketRelay": relay}
        config = {
            "server": keys,
            "http": {"port": port, "bind": ["127.0.0.1"]},
            "driver": [f"file:{folder}/routes.toml"],
            "memory": {"limit": 0},  # a recycled worker has no memory to measure
        }
        if os.geteuid() == 0:
            config |= {"user": "root", "group": "root"}
        (Path(folder) / "config.json").write_text(json.dumps(config))
        env = os.environ | {
            "PYTHONPATH": str(CHECKOUT),
            "HIPACHE_CONFIG": f"{folder}/config.json",
        }
        master = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"], env=env, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port)
            yield port, worker_of(master.pid)
        finally:
            master.kill()  # its worker ends with it
            master.wait(30)


def wait_for(port: int) -> None:
    for _ in range(300):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.sendall(b"GET / HTTP/1.1\r\nHost: __ping__\r\n\r\n")
                if probe.recv(1024):
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("hipache did not start")


def worker_of(master: int) -> psutil.Process:
    """The process that listens: the largest of the supervisor's children."""
    return max(psutil.Process(master).children(), key=lambda it: it.memory_info().rss)


async def measure(sockets: int, *, relay: bool) -> None:
    loop = asyncio.get_running_loop()
    Backend.every.clear()
    server = await loop.create_server(Backend, "127.0.0.1", 0, backlog=1024)
    with hipache(server.sockets[0].getsockname()[1], relay=relay) as (port, worker):
        await open_sockets(port, 50)  # what is loaded once
        before = worker.memory_info().rss
        clients = await open_sockets(port, sockets)
        await asyncio.sleep(1)
        idle = worker.memory_info().rss
        print(
            f"{'relay' if relay else 'tunnel':6}  {sockets} idle sockets: "
            f"{(idle - before) / sockets / 1024:.1f} KB each",
            flush=True,
        )
        _, slow = await loop.create_connection(lambda: Client(b"/slow"), "127.0.0.1", port)
        await slow.open
        slow.transport.pause_reading()
        started, peak = time.perf_counter(), idle
        for backend in tuple(Backend.every):
            size = FLOOD if backend.head.startswith(b"GET /slow") else BROADCAST
            backend.transport.writelines([FRAME] * (size // len(FRAME)))
        waiting = asyncio.gather(*(client.full for client in clients))
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.05)
            peak = max(peak, worker.memory_info().rss)
        print(
            f"{'':6}  16 KiB to each, 32 MiB to one that reads nothing: worker grew by "
            f"{(peak - idle) / 2**20:.1f} MiB, the others had it all after "
            f"{time.perf_counter() - started:.1f} s",
            flush=True,
        )
        for client in [*clients, slow]:
            client.transport.abort()
    server.close()


async def open_sockets(port: int, count: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients = []
    for start in range(0, count, 100):
        batch = [
            loop.create_connection(Client, "127.0.0.1", port)
            for _ in range(min(100, count - start))
        ]
        clients += [client for _, client in await asyncio.gather(*batch)]
        await asyncio.gather(*(client.open for client in clients[start:]))
    return clients


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sockets", type=int, default=5000)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the proxy inherits it
    for relay in (False, True):
        uvloop.run(measure(options.sockets, relay=relay))


if __name__ == "__main__":
    main()
