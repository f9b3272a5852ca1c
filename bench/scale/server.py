"""The Redis of a fleet: filled, killed, and brought back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench.scale.real import port_of
from bench.scale.shared_numbers import CHANGING, SharedNumbers, host, packed
from tests.redis_servers import RedisServer

AT_A_TIME = 5000
CLIENTS = 20_000


class Server:
    """A Valkey on loopback."""

    def __init__(self, folder: Path, numbers: SharedNumbers) -> None:
        self._server = RedisServer(folder, "--maxclients", str(CLIENTS))
        self._numbers = numbers
        numbers.port = self._server.port
        self.url = self._server.url

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

    def kill(self) -> None:
        """kill -9"""
        self._server.kill()

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
