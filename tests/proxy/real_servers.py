"""Servers of applications as backends, started as their users start them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest

from tests.processes import Service, program

GUNICORN = (sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0")
GUNICORN_LISTENS = r"Listening at: http://127.0.0.1:(\d+)"
PUMA = ("puma", "--bind", "tcp://127.0.0.1:0", "--environment", "none")
PUMA_LISTENS = r"Listening on http://127.0.0.1:(\d+)"

PACKAGES = {"node": "nodejs", "puma": "puma", "java": "default-jdk-headless"}


@dataclass(frozen=True, kw_only=True)
class RealServer:
    """A program with its application, and the line of its log that tells its port."""

    file: str
    source: bytes
    words: tuple[str, ...]
    listening: str


@asynccontextmanager
async def started(server: RealServer, folder: Path) -> AsyncIterator[Service]:
    """The running server, which knows its port; skips the test where it is not installed."""
    if which(server.words[0]) is None:
        pytest.skip(f"{server.words[0]} is not installed; Debian: {PACKAGES[server.words[0]]}")
    (folder / server.file).write_bytes(server.source)
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    shell = ("sh", "-c", 'exec "$@" 1>&2', "-")
    async with program(*shell, *server.words, cwd=folder, environ=environ) as service:
        service.port = int((await service.saw(server.listening))[1])
        yield service
