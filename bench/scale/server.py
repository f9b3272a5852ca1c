"""The Redis of a fleet: filled, killed, replaced by its replica, and brought back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench.scale.real import port_of
from bench.scale.shared_numbers import CHANGING, SharedNumbers, host, packed
from tests.redis_servers import RedisServer, Sentinel

AT_A_TIME = 5000
CLIENTS = 20_000


class Server:
    """A Valkey on loopback, perhaps with a replica and a Sentinel that watches both."""

    def __init__(self, folder: Path, numbers: SharedNumbers, *, replicated: bool = False) -> None:
        """`replicated`: it may be lost for good once, see `fail_over`."""
        self._server = self._made(folder)
        self._numbers = numbers
        self._replica: RedisServer | None = None
        self._sentinel: Sentinel | None = None
        numbers.port = self._server.port
        self.url = self._server.url
        if replicated:
            self._replica = self._made(folder / "replica")
            self._sentinel = Sentinel(folder / "sentinel", self._server)
            self.url = f"redis+sentinel://127.0.0.1:{self._sentinel.port}/main"

    def _made(self, folder: Path) -> RedisServer:
        return RedisServer(folder, "--maxclients", str(CLIENTS))

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._server.process is not None
        return self._server.process.pid

    def start(self) -> None:
        """Until it answers; what it saved is loaded."""
        asyncio.run(self._started())

    async def _started(self) -> None:
        await self._server.start()
        for beside in (self._replica, self._sentinel):
            if beside is not None and beside.process is None:
                beside.directory.mkdir()
                await beside.start()
        if self._replica is not None and self._sentinel is not None:
            async with self._replica.client as client:
                await client.replicaof("127.0.0.1", self._server.port)
            await self._sentinel.knows_replica()

    def fail_over(self) -> None:
        """kill -9, for good; until Sentinel names the replica, which is the server from now on."""
        asyncio.run(self._failed_over())

    async def _failed_over(self) -> None:
        assert self._replica is not None
        assert self._sentinel is not None
        await self._sentinel.knows_replica()
        self._server.kill()
        self._server, self._replica = self._replica, None
        await self._sentinel.names(self._server)
        self._numbers.port = self._server.port

    def kill(self) -> None:
        """kill -9"""
        self._server.kill()

    def end(self) -> None:
        """Kill what there is."""
        for each in (self._server, self._replica, self._sentinel):
            if each is not None:
                each.kill()

    def connection(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self._server.port))

    def ask(self, *command: str | int) -> bytes:
        """The raw answer to one command, up to 64 KiB."""
        with self.connection() as client:
            client.sendall(packed(*command))
            return client.recv(65_536)

    def fill(self, frontends: int) -> float:
        """Write so many frontends; returns how many seconds that took. Numbers begin anew."""
        began = time.monotonic()
        with self.connection() as client:
            for some in _pieces(frontends):
                for number in range(some.start, min(some.stop, CHANGING)):
                    self._numbers.sent[number] = time.monotonic()
                client.sendall(b"".join(map(_frontend, some)))
                self._read(client, len(some))
        for number in range(CHANGING):
            self._numbers.version[number] = 0
        return time.monotonic() - began

    def _read(self, client: socket.socket, lines: int) -> None:
        left = lines
        while left:
            left -= client.recv(65_536).count(b"\r\n")

    def figures(self) -> tuple[int, int]:
        """How many clients there are, and bytes in use."""
        asked = (("clients", b"connected_clients:"), ("memory", b"used_memory:"))
        found = (_number(self.ask("INFO", section), name) for section, name in asked)
        clients, memory = found
        return clients, memory


def _number(text: bytes, name: bytes) -> int:
    return int(text.split(name, 1)[1].split(b"\r\n", 1)[0])


def _pieces(count: int) -> Iterator[range]:
    for start in range(0, count, AT_A_TIME):
        yield range(start, min(start + AT_A_TIME, count))


def _frontend(number: int) -> bytes:
    return packed("RPUSH", f"frontend:{host(number)}", "site", f"http://127.0.0.1:{port_of(0)}")
