"""A Redis, a backend and a real `hipache serve`, for questions about routes and checks."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis.asyncio
from redis.exceptions import RedisError

from app.stores.embedded.store import find_server
from bench.processes import STARTUP_SECONDS, BenchError, stop, tail
from tests.ports import free_port

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

MIB = 1 << 20

LOAD = 400

BUSY_CLIENTS = 8


@dataclass
class Site:
    """A Redis, a backend, and `hipache serve` in front of it."""

    redis: redis.asyncio.Redis
    port: int
    backend: str
    supervisor: psutil.Process
    seconds_to_start: float
    log: Path

    def workers(self) -> list[psutil.Process]:
        """The workers, the longest-lived first."""
        return sorted(self.supervisor.children(), key=lambda process: process.create_time())


class Client:
    """One keep-alive connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.own_port = writer.get_extra_info("sockname")[1]

    @classmethod
    async def connect(cls, site: Site) -> Client:
        """A new connection; some worker accepts it."""
        return cls(*await asyncio.open_connection("127.0.0.1", site.port))

    async def get(self, host: str) -> int:
        """The status of the answer to GET /."""
        self._writer.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await self._reader.readexactly(length)
        return int(head[9:12])

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def site(
    workers: int,
    fill: Callable[[redis.asyncio.Redis, str], Coroutine[Any, Any, None]],
    **settings: Any,
) -> AsyncIterator[Site]:
    """A running site; `fill` writes routes before the proxy starts, `settings` are top-level."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis_port, port = free_port(), free_port()
        command = [find_server(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
        store = subprocess.Popen([*command, "--dir", name], stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        backend = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = redis.asyncio.Redis(port=redis_port, decode_responses=True)
        await answers(client)
        await fill(client, backend)
        config = {
            "server": {"workers": workers, "accessLog": None, "snapshot": str(folder / "routes")},
            "http": {"bind": "127.0.0.1", "port": port},
            "driver": f"redis://127.0.0.1:{redis_port}",
            "user": None,
            "admin": {"bind": f"127.0.0.1:{free_port()}"},  # another Hipache may have the usual one
        } | settings
        (folder / "config.json").write_text(json.dumps(config))
        log = folder / "hipache.log"
        started = time.monotonic()
        with log.open("wb") as output:
            proxy = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "app.cli", "serve", "-c", str(folder / "config.json")],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        try:
            await ready(workers, log)
            seconds = time.monotonic() - started
            yield Site(client, port, backend, psutil.Process(proxy.pid), seconds, log)
        finally:
            stop(proxy)
            await client.aclose()
            store.kill()
            store.wait()
            server.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The backend: 200 to everything."""
    with suppress(ConnectionError):
        while await reader.readline():
            while await reader.readline() not in (b"\r\n", b""):
                pass
            writer.write(ANSWER)
    writer.close()


async def answers(client: redis.asyncio.Redis) -> None:
    """Wait until the server answers."""
    while True:
        try:
            await client.ping()
            return
        except (RedisError, OSError):
            await asyncio.sleep(0.01)


async def ready(workers: int, log: Path) -> None:
    """Wait until every worker said that it is ready."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while log.read_bytes().count(b"worker ready") < workers:  # noqa: ASYNC240
        if time.monotonic() > deadline:
            raise BenchError(tail(log))
        await asyncio.sleep(0.005)
