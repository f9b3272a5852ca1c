"""When the frontends of a file were last used: one small file in memory for each table."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Container
from pathlib import Path

from ...errors import StoreUnavailable
from ...system.shared_folder import memory_folder, open_own
from ..uses import NOTED, SINCE, LastUses, noted


class FileUses:
    """uses.UseRecords of the workers of one machine. It ends with the machine's memory."""

    def __init__(self, table: Path, keys: Callable[[], Container[str]]) -> None:
        """`table`: the path as the configuration names it, made absolute. `keys` gives those that
        it has now."""
        self._path = uses_file(table)
        self._keys = keys

    async def note(self, keys: Collection[str]) -> None:
        """Where no file can be written, nothing is noted."""
        there = self._keys()
        self._replace(
            lambda before: noted(before, [key for key in keys if key in there], time.time())
        )

    async def prune(self) -> None:
        """At once."""
        there = self._keys()
        self._replace(
            lambda before: {
                key: at for key, at in before.items() if key in {SINCE, NOTED} or key in there
            }
        )

    def _replace(self, edit: Callable[[dict[str, float]], dict[str, float]]) -> None:
        try:
            descriptor = open_own(self._path)
        except OSError:
            return
        with open(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = json.dumps(edit(_parsed(file.read()))).encode()
            file.seek(0)
            file.write(data)
            file.truncate()


def read_file_uses(table: Path) -> LastUses:
    """What was noted of this table on this machine. Raises StoreUnavailable."""
    path = uses_file(table)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return LastUses()
    except OSError as exc:
        raise StoreUnavailable(f"{path}: {exc.strerror}: ask as the proxy's user") from exc
    with open(descriptor, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return LastUses.of(_parsed(file.read()))


def uses_file(table: Path) -> Path:
    """Where they are noted."""
    return memory_folder() / f"hipache-used-{hashlib.sha256(os.fsencode(table)).hexdigest()[:16]}"


def _parsed(data: bytes) -> dict[str, float]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:  # written by halves when the machine stopped
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(key): float(at) for key, at in found.items() if isinstance(at, int | float)}
