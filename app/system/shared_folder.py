"""Folders that processes of one machine share: in memory, if possible."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import multiprocessing
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

_in_use: Counter[Path] = Counter()
"""How many applications of this process use a folder."""

_NAME = re.compile(r"hipache-(\d+)-(\d+)-(\d+)")
"""Of a service's folder: its user, its process and when that started."""


def memory_folder() -> Path:
    """A folder that every user may write to: /dev/shm, else the one for temporary files."""
    base = Path("/dev/shm")
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir())


def open_own(path: Path) -> int:
    """A file there that this user alone reads and writes; made if necessary. Its descriptor.

    Another user could lock a file of theirs, and a worker would wait for it. Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "another user made this file", str(path))
    return descriptor


def numbers_in(data: bytes) -> dict[str, float]:
    """The numbers by name that a small file has, as far as they can be read."""
    try:
        found = json.loads(data or b"{}")
    except ValueError:  # written by halves when the machine stopped
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): float(number) for name, number in found.items() if _is_number(number)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def edit_numbers(path: Path, edit: Callable[[dict[str, float]], dict[str, float] | None]) -> None:
    """Change the numbers in a file that `open_own` opens, one process after another.

    Where `edit` returns None they stay. Raises OSError.
    """
    with open(open_own(path), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        after = edit(numbers_in(file.read()))
        if after is not None:
            file.seek(0)
            file.write(json.dumps(after).encode())
            file.truncate()


def is_held(descriptor: int) -> bool:
    """Whether the process that created and locked this file is alive; a kill unlocks it, too.

    The test takes a shared lock, so that two readers do not take each other for the writer.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def service_folder(pid: int) -> Path:
    """The folder of the service whose workers have process `pid` in common; made if necessary.

    Raises OSError, and psutil.NoSuchProcess where there is no such process.
    """
    base = memory_folder()
    path = base / f"hipache-{os.geteuid()}-{pid}-{_started(pid)}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _remove_stale(base)
    status = path.lstat()
    if status.st_uid != os.geteuid() or path.is_symlink():
        raise PermissionError(13, "another user made this folder", str(path))
    return path


def remove_service_folder(pid: int) -> None:
    """Remove it. Call this when the last worker has ended."""
    with contextlib.suppress(OSError, psutil.NoSuchProcess):
        shutil.rmtree(service_folder(pid), ignore_errors=True)


def service_folders() -> list[Path]:
    """Those of all services on this machine whose files this user may read."""
    found = memory_folder().glob("hipache-*")
    return sorted(
        path for path in found if _NAME.fullmatch(path.name) and os.access(path, os.R_OK | os.X_OK)
    )


@contextmanager
def shared_by_workers(supervisor: int | None) -> Iterator[Path | None]:
    """The folder that this worker shares with its siblings; None, with a warning, if none can be.

    `supervisor` is the process of `hipache serve`. Without one, uvicorn's own process is what
    the workers have in common; a worker that is alone removes the folder at the end.
    """
    parent = multiprocessing.parent_process()
    alone = supervisor is None and (parent is None or parent.pid is None)
    pid = supervisor or (os.getpid() if parent is None or parent.pid is None else parent.pid)
    try:
        folder = service_folder(pid)
    except (OSError, psutil.NoSuchProcess) as exc:
        logger.warning("metrics show this worker only, no request is recorded cause=%s", exc)
        yield None
        return
    _in_use[folder] += 1
    try:
        yield folder
    finally:
        _in_use[folder] -= 1
        if alone and not _in_use[folder]:
            shutil.rmtree(folder, ignore_errors=True)


def _started(pid: int) -> int:
    return int(psutil.Process(pid).create_time() * 100)


def _remove_stale(base: Path) -> None:
    """Remove folders of ours whose process has ended."""
    for path in base.glob(f"hipache-{os.geteuid()}-*"):
        named = _NAME.fullmatch(path.name)
        if named is None:
            continue
        try:
            stale = _started(int(named[2])) != int(named[3])
        except psutil.NoSuchProcess:
            stale = True
        if stale:
            shutil.rmtree(path, ignore_errors=True)
