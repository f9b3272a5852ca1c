"""When the frontends of a file were last used: one small file in memory for each table."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Collection, Container
from contextlib import suppress
from pathlib import Path

from ...errors import StoreUnavailable
from ...system.shared_folder import edit_numbers, memory_folder, numbers_in
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
        used = [key for key in keys if key in there]
        with suppress(OSError):
            edit_numbers(self._path, lambda before: noted(before, used, time.time()))

    async def prune(self) -> None:
        """At once."""
        there = self._keys()

        def pruned(before: dict[str, float]) -> dict[str, float]:
            return {key: at for key, at in before.items() if key in {SINCE, NOTED} or key in there}

        with suppress(OSError):
            edit_numbers(self._path, pruned)


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
        return LastUses.of(numbers_in(file.read()))


def uses_file(table: Path) -> Path:
    """Where they are noted."""
    return memory_folder() / f"hipache-used-{hashlib.sha256(os.fsencode(table)).hexdigest()[:16]}"
