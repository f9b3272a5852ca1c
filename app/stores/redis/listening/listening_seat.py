"""The seat of the one worker that listens for its siblings, two files of one name.

<name>        a lock: who holds it has the seat, until it ends or gives it back
<name>.sock   where the others connect
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ....system.kernel_locks import can_lock_bytes, lock_byte, unlock_byte
from ....system.shared_folder import open_own

FORMAT = 1
"""Raise it when the frames change: workers of two versions have a seat each then."""
WAITING = 255
"""Siblings whose connection the kernel accepts while the listening worker is at something else."""


def seat_in(folder: Path, heard: str) -> Path:
    """Where the seat is of all who hear the same: `heard` says what, secrets included."""
    return folder / f"listening-{sha256(f'{FORMAT} {heard}'.encode()).hexdigest()[:16]}"


class ListeningSeat:
    """This worker's handle on the seat."""

    def __init__(self, path: Path) -> None:
        """`path` is in a folder of the workers' own. Raises OSError where nothing can be shared."""
        if not can_lock_bytes():
            raise OSError("this system has no locks for it")
        self.address = f"{path}.sock"
        self._file = open_own(path)

    def take(self) -> bool:
        """Whether the seat is this worker's now. Raises OSError."""
        return lock_byte(self._file, 0)

    def opened(self) -> socket.socket:
        """A socket at the address; for the worker that has the seat. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._remove()  # what a killed worker has left
            sock.bind(self.address)
            sock.listen(WAITING)
        except OSError:
            sock.close()
            raise
        return sock

    def give_back(self) -> None:
        """Another worker may take it."""
        self._remove()
        unlock_byte(self._file, 0)

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.address)

    def close(self) -> None:
        """Also gives it back, if this worker has it."""
        os.close(self._file)
