"""Processes that see another machine than they are on: one without our memory, or a quiet one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, Service, program, write_config

ELSEWHERE = (
    "unshare", "--map-root-user", "--mount", "sh", "-c",
    'mount -t tmpfs tmpfs /dev/shm && exec "$0" "$@"',
)  # fmt: skip


@cache
def quietly() -> tuple[str, ...]:
    """What stands before a command so that it does not wait for others that run here.

    For what is timed. Nothing, where we may not do that.
    """
    first = ("chrt", "--rr", "1")
    if shutil.which(first[0]) is None:
        return ()
    done = subprocess.run([*first, "true"], capture_output=True, check=False)
    return first if done.returncode == 0 else ()


@cache
def _may_be_elsewhere() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode == 0


@asynccontextmanager
async def serve_elsewhere(
    folder: Path, driver: str, workers: int = 1, **server: Any
) -> AsyncIterator[Service]:
    """`hipache serve` with a /dev/shm of its own, ready."""
    if not _may_be_elsewhere():
        pytest.skip("needs unshare (Debian's util-linux) and the right to mount in a namespace")
    write_config(folder, driver, workers, **server)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    words = (*ELSEWHERE, sys.executable, "-m", "app.cli", "serve")
    async with program(*words, cwd=folder, environ=environ) as service:
        await service.ready(workers)
        yield service
