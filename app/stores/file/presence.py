"""The workers that serve from a file, and the state of it that each has: how `--wait` knows.

Every worker keeps a note in memory, named for the table's path and locked while the worker lives,
with the stamp of the table that it serves. `--wait` compares that with the file's own stamp.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...system.file_stamp import Stamp, stamp_of
from ...system.shared_folder import is_held, memory_folder

logger = logging.getLogger(__name__)

NOTES_EVERY = 0.01
_KIND = "hipache-routes-"
_WIDTH = 80  # bytes of a note: it is written over in one go, and never grows


class FilePresence:
    """One worker's note."""

    def __init__(self, table: Path) -> None:
        """`table`: the path as the configuration names it, made absolute."""
        self._name = f"{_kind(table)}{os.getpid()}-{secrets.token_hex(4)}"
        self._path = memory_folder() / self._name
        self._descriptor: int | None = None

    def show_up(self) -> None:
        """Be waited for from now on, until `release` or the end of this process."""
        _remove_dead(self._path.parent)
        new = self._path.with_name(f".{self._name}")
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._descriptor = os.open(new, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.serves(None)
            os.fchmod(self._descriptor, 0o644)  # routes may be changed by another user
            new.rename(self._path)
        except OSError as exc:
            logger.info("--wait will not know this worker cause=%s", exc)

    def serves(self, stamp: Stamp) -> None:
        """This state of the table is served from now on."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, _note(stamp), 0)

    def release(self) -> None:
        """Nobody needs to wait any more."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


async def wait_for_all(table: Path, seconds: float) -> tuple[int, list[str]]:
    """Wait until every worker on this machine has the table as it is.

    Returns how many workers there are, and the pids of those that had not taken
    it over within `seconds`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        wanted, notes = _note(stamp_of(table)), list(_notes(table))
        missing = [pid for pid, note in notes if note != wanted]
        if not missing or loop.time() > deadline:
            return len(notes), missing
        await asyncio.sleep(NOTES_EVERY)


def _notes(table: Path) -> Iterator[tuple[str, bytes]]:
    """Pid and note of each living worker."""
    kind = _kind(table)
    for path in memory_folder().glob(f"{kind}*"):
        with contextlib.suppress(OSError), _opened(path) as file:
            if is_held(file.fileno()):
                yield path.name.removeprefix(kind).partition("-")[0], file.read(_WIDTH)


def _kind(table: Path) -> str:
    return f"{_KIND}{hashlib.sha256(os.fsencode(table)).hexdigest()[:16]}-"


def _note(stamp: Stamp) -> bytes:
    return repr(stamp).encode().ljust(_WIDTH)


def _opened(path: Path) -> IO[bytes]:
    """The folder is open to every user: a pipe or a link in it must not block us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    return open(descriptor, "rb")


def _remove_dead(folder: Path) -> None:
    """Remove the notes of killed workers, about any table."""
    for path in folder.glob(f"{_KIND}*"):
        with contextlib.suppress(OSError), _opened(path) as file:
            if not is_held(file.fileno()):
                path.unlink()
