"""Locks on single bytes of a file, which the kernel gives back when their holder ends.

fcntl(2), open file description locks: each time that a file is opened makes another holder, also
in one process, and a killed process holds nothing.
"""

from __future__ import annotations

import fcntl
import struct

_SET = getattr(fcntl, "F_OFD_SETLK", None)
_GET = getattr(fcntl, "F_OFD_GETLK", None)
_FLOCK = "@hhqqi4x"


def can_lock_bytes() -> bool:
    """Whether this system has such locks: Linux does."""
    return _SET is not None


def lock_byte(descriptor: int, number: int, *, shared: bool = False) -> bool:
    """Take the lock, or change it to this kind. False where another holder has it.

    Raises OSError.
    """
    assert _SET is not None
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(descriptor, _SET, _flock(kind, number))
    except BlockingIOError:
        return False
    return True


def byte_is_locked(descriptor: int, number: int) -> bool:
    """Whether another holder has it, for itself or shared. Takes nothing. Raises OSError."""
    assert _GET is not None
    found = fcntl.fcntl(descriptor, _GET, _flock(fcntl.F_WRLCK, number))
    return int(struct.unpack(_FLOCK, found)[0]) != fcntl.F_UNLCK


def unlock_byte(descriptor: int, number: int) -> None:
    """Give the lock back. Raises OSError."""
    assert _SET is not None
    fcntl.fcntl(descriptor, _SET, _flock(fcntl.F_UNLCK, number))


def _flock(kind: int, number: int) -> bytes:
    """One byte, counted from the beginning of the file (SEEK_SET)."""
    return struct.pack(_FLOCK, kind, 0, number, 1, 0)
