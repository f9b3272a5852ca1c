"""What one worker has read of the store, in shared memory for the other workers of its proxy.

One process writes a file, the others read it while it is written. Each host has one place in it,
with a checksum: a reader that meets a half-written place takes it for an empty one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from ...system.shared_folder import is_held, open_own

PLACES = 4096
"""Hosts that a file has room for; a later one takes an earlier one's place."""
PLACE = 1024
"""Bytes of a place. A longer answer is not shared. Memory is taken for places in use only."""
_HEAD = struct.Struct("<IIdHH?")
"""Checksum of all behind it; of the host; when its read began; lengths; whether it goes on."""


class Shared(NamedTuple):
    """What another worker says of a host."""

    began: float
    """When it began to read, on the clock that all processes of a machine share (`monotonic`)."""
    answer: bytes | None
    """None: it still reads."""


class ReadBoard:
    """One worker's file. Only the process that made it writes there."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Raises OSError."""
        self.path = path
        self._file = open_own(path) if create else os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if create:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._file, PLACES * PLACE)
            access = mmap.ACCESS_WRITE if create else mmap.ACCESS_READ
            self._memory = mmap.mmap(self._file, PLACES * PLACE, access=access)
        except (OSError, ValueError) as exc:  # ValueError: it is not that long yet
            os.close(self._file)
            raise OSError(str(exc)) from exc

    @property
    def abandoned(self) -> bool:
        """Whether the process that made it is gone."""
        return not is_held(self._file)

    def put(self, host: str, began: float, answer: bytes | None) -> None:
        """Say what is known of `host`, or with None that it is being read."""
        name, text = host.encode(), answer or b""
        number = crc32(name)
        start = number % PLACES * PLACE
        if _HEAD.size + len(name) + len(text) > PLACE:
            self.take_back(host)
            return
        content = _HEAD.pack(0, number, began, len(name), len(text), answer is None)[4:]
        content += name + text
        packed = crc32(content).to_bytes(4, "little") + content
        self._memory[start : start + len(packed)] = packed

    def take_back(self, host: str) -> None:
        """Say nothing of `host`."""
        start = crc32(host.encode()) % PLACES * PLACE
        self._memory[start : start + _HEAD.size] = bytes(_HEAD.size)

    def get(self, host: str) -> Shared | None:
        """What is said of `host`; None: nothing."""
        name = host.encode()
        number = crc32(name)
        start = number % PLACES * PLACE
        checksum, named, began, length, size, reading = _HEAD.unpack_from(self._memory, start)
        if named != number or length != len(name) or _HEAD.size + length + size > PLACE:
            return None
        place = self._memory[start : start + _HEAD.size + length + size]
        if crc32(place[4:]) != checksum or place[_HEAD.size : _HEAD.size + length] != name:
            return None
        return Shared(began, None if reading else place[_HEAD.size + length :])

    def close(self) -> None:
        """Let go of it."""
        self._memory.close()
        os.close(self._file)

    def remove(self) -> None:
        """Let go of it, and of its file."""
        self.close()
        with suppress(OSError):
            self.path.unlink()
