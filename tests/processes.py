"""The proxy as a person starts it: a process of its own, told apart by what it logs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.ports import listens

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
"""Seconds: only what hangs takes so long, on a busy machine too."""


class Service:
    """A running command, its log, and its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        self.port = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    async def saw(self, pattern: str) -> re.Match[str]:
        """The next line of the log that matches, from where the last one was found."""
        assert self.process.stderr is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := (await self.process.stderr.readline()).decode():
                    self.log.append(line)
                    if match := re.search(pattern, line):
                        return match
        except TimeoutError:
            pass
        raise AssertionError(f"{pattern!r} was not logged:\n" + "".join(self.log))

    async def ready(self, workers: int) -> None:
        """Until it listens and so many workers serve."""
        self.port = int((await self.saw(r"listening address=127\.0\.0\.1:(\d+)"))[1])
        for _ in range(workers):
            await self.saw("worker ready")

    async def bare_ready(self, workers: int, port: int = 0) -> None:
        """The same of a bare uvicorn, whose workers say that they serve before they listen.

        It may have chosen the port itself.
        """
        found = port or (await self.saw(r"running on http://127\.0\.0\.1:(\d+)"))[1]
        self.port = int(found)
        for _ in range(workers):
            await self.saw("Application startup complete")
        async with asyncio.timeout(PATIENCE):
            while not listens(self.port):  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, with all of its log read."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            self.log += (await self.process.stderr.read()).decode().splitlines(keepends=True)
            return await self.process.wait()

    async def whole_log(self) -> str:
        """What was read of its log, and what more there is of one that was killed."""
        assert self.process.stderr is not None
        with suppress(TimeoutError):  # somebody may still hold the pipe
            async with asyncio.timeout(1):
                while line := await self.process.stderr.readline():
                    self.log.append(line.decode())
        return "".join(self.log)

    def workers(self) -> list[int]:
        """Pids of its children."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    async def ask(self, host: str = "a.test", target: str = "/") -> bytes:
        """One request on a connection of its own; the whole reply."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        reply = await reader.read()
        writer.close()
        return reply


@asynccontextmanager
async def command(*args: str, cwd: Path, **environ: str) -> AsyncIterator[Service]:
    """Run `python -m ...` on this checkout."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)} | environ
    async with program(sys.executable, "-m", *args, cwd=cwd, environ=environ) as service:
        yield service


@asynccontextmanager
async def program(
    *args: str, cwd: Path, environ: Mapping[str, str], stdout: bool = False
) -> AsyncIterator[Service]:
    """Run anything; whatever is left of it at the end is killed. `stdout` pipes that, too.

    A test that fails is shown what the program logged.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *args, cwd=cwd, env=environ, stderr=pipe, stdout=pipe if stdout else None
    )
    family, service = psutil.Process(process.pid), Service(process)
    failed = True
    try:
        yield service
        failed = False
    finally:
        left = family.children(recursive=True) if family.is_running() else []
        for member in [family, *left]:
            if member.is_running():
                member.kill()
        await process.wait()
        if failed:
            print(await service.whole_log())
        # A grandchild that is about to die may still hold a pipe, which must not outlive the loop.
        process._transport.close()  # type: ignore[attr-defined]


async def status(folder: Path, *options: str) -> tuple[int, str]:
    """`hipache status` in this folder: exit status, and what it printed."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    ask = (sys.executable, "-m", "app.cli", "status", *options)
    async with program(*ask, cwd=folder, environ=environ, stdout=True) as asking:
        assert asking.process.stdout is not None
        return await asking.ended(), (await asking.process.stdout.read()).decode()


def runs(process: psutil.Process) -> bool:
    """Whether it goes on: one that has ended and waits for its parent to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_config(
    folder: Path,
    driver: str,
    workers: int = 2,
    admin: dict[str, Any] | None = None,
    **server: Any,
) -> Path:
    """A config.json on a free port of loopback, for whoever runs the tests."""
    path = folder / "config.json"
    server = {"workers": workers, "accessLog": None, "snapshot": None} | server
    values: dict[str, Any] = {"server": server, "http": {"port": 0}, "driver": driver, "user": None}
    values["admin"] = {"bind": None} if admin is None else admin  # one port would not do for all
    path.write_text(json.dumps(values))
    return path


@asynccontextmanager
async def serve(
    folder: Path, driver: str, workers: int = 2, **server: Any
) -> AsyncIterator[Service]:
    """`hipache serve` in `folder`, ready."""
    write_config(folder, driver, workers, **server)
    async with command("app.cli", "serve", cwd=folder) as service:
        await service.ready(workers)
        yield service
