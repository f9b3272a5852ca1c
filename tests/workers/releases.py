"""Releases of Hipache side by side, and a service that can be upgraded from one to another."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.processes import ROOT, Service, program
from tests.redis_servers import until

MARK = "HIPACHE_TEST_FOLDER"


class Releases:
    """`current` in the folder leads to the release that a new process is made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = folder / "current"
        self.current.symlink_to(ROOT)

    def install(self, version: str, **changes: str) -> None:
        """Another version; each of `changes` is appended to a module, named with `__` for `.`."""
        release = self.folder / version
        shutil.copytree(ROOT / "app", release / "app", ignore=shutil.ignore_patterns("*.pyc"))
        (release / "templates").symlink_to(ROOT / "templates")
        about = release / f"hipache-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: hipache\nVersion: {version}\n"
        )
        for module, code in changes.items():
            with (release / "app" / f"{module.replace('__', '/')}.py").open("a") as file:
                file.write(f"\n{code}\n")
        new = self.folder / "next"
        new.symlink_to(release)
        new.replace(self.current)


@asynccontextmanager
async def upgradable(
    folder: Path, *, before: str = "", workers: int = 1, **environ: str
) -> AsyncIterator[tuple[Service, Releases]]:
    """`hipache serve` in `folder`, ready; `before` changes its constants first."""
    releases = Releases(folder)
    code = ("-c", f"{before}\nfrom app.cli import main\nmain(['serve'])")
    command = (sys.executable, *(code if before else ("-m", "app.cli", "serve")))
    environ = os.environ | {"PYTHONPATH": str(releases.current), MARK: str(folder)} | environ
    async with program(*command, cwd=folder, environ=environ) as service:
        try:
            await service.ready(workers)
            yield service, releases
        finally:
            for process in processes(folder):
                process.kill()
            await service.ended()


def processes(folder: Path) -> list[psutil.Process]:
    """Everything that was started there, children of nobody included."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


async def hipache(folder: Path, *words: str) -> tuple[int, str]:
    """A command of this checkout: its exit status, and all that it printed."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), MARK: str(folder)}
    asked = (sys.executable, "-m", "app.cli", *words)
    async with program(*asked, cwd=folder, environ=environ, stdout=True) as asking:
        assert asking.process.stdout is not None
        status = await asking.ended()
        return status, (await asking.process.stdout.read()).decode() + "".join(asking.log)


async def drained(service: Service) -> int:
    """The exit status of the supervisor that was started first; its log goes on with the next."""
    await until(lambda: service.process.returncode is not None, seconds=20)
    assert service.process.returncode is not None
    return service.process.returncode
