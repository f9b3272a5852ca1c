"""Places that the workers of one proxy share, each held by one of them.

A place is a byte of a file in memory. Its holder has the lock on that byte, which the kernel gives
back when the worker ends, however it ends. The byte itself has the holder's number, so that a
free place is found without asking for each, and a worker that needs one can tell the holders.

In front of the places stands for each worker since when it waits for one.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from time import monotonic

from .kernel_locks import lock_byte, unlock_byte
from .shared_folder import open_own
from .worker_team import MOST_MEMBERS, WorkerTeam

_FRONT = 8 * (MOST_MEMBERS + 1)
_NOBODY_WAITS = bytes(_FRONT)
AT_ONCE = 1_000
"""Places whose locks are asked for at one look, in about a millisecond."""
_IN_USE = 1 << 40
"""The byte whose lock all share who have the file open; it is beyond the end of any file."""


class SharedPlaces:
    """As many places as `count`, in one file. Raises OSError when it is made."""

    def __init__(self, team: WorkerTeam, name: str, count: int) -> None:
        self._team, self._count = team, count
        self._path = team.folder / f"{name}.places"
        self._file = _opened(self._path)
        size = _FRONT + count
        if os.fstat(self._file).st_size < size:
            os.posix_fallocate(self._file, 0, size)  # a full disk is an error here, and no SIGBUS
        self._map = mmap.mmap(self._file, size)
        self._since = memoryview(self._map)[:_FRONT].cast("d")
        self._mine: list[int] = []
        self._looked = 0
        self._since[team.number] = 0.0
        self._clear(team.number)  # of a worker that was killed and had our number

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._map.closed

    @property
    def held(self) -> int:
        """How many this worker has."""
        return len(self._mine)

    @property
    def any_free(self) -> bool:
        """Whether one seems to be free."""
        return self._map.find(b"\0", _FRONT) >= 0

    def take(self) -> bool:
        """Take a place. False where none is free."""
        at = self._map.find(b"\0", _FRONT)
        while at >= 0:
            if lock_byte(self._file, at):
                self._map[at] = self._team.number
                self._mine.append(at)
                return True
            at = self._map.find(b"\0", at + 1)
        return False

    def give_back(self) -> None:
        """Give one back."""
        at = self._mine.pop()
        self._map[at] = 0
        unlock_byte(self._file, at)

    def wait_since(self, since: float) -> bool:
        """Let others know that this worker waits since then (time.monotonic; 0.0: no longer).

        Returns whether that is news.
        """
        before = self._since[self._team.number]
        self._since[self._team.number] = since
        return before != since

    def others_wait_since(self, longest: float) -> float | None:
        """Since when the first of the others waits that live; None: none does.

        Nobody waits for more than `longest` seconds: one that seems to is held up itself.
        """
        if self._map[:_FRONT] == _NOBODY_WAITS:
            return None
        earliest = monotonic() - longest
        waiting = [self._since[n] for n in self._waiting() if self._since[n] > earliest]
        return min(waiting, default=None)

    def _waiting(self) -> list[int]:
        ours = self._team.number
        return [n for n, since in enumerate(self._since) if since and n != ours]

    def tell_waiting(self, subject: bytes) -> None:
        """Tell those who wait that a place may be free."""
        if self._map[:_FRONT] == _NOBODY_WAITS:
            return
        for number in self._waiting():
            if not self._team.tell(number, subject):
                self._since[number] = 0.0  # it is dead

    def tell_holders(self, subject: bytes) -> None:
        """Tell those who have a place that somebody waits for one."""
        for number in set(self._map[_FRONT:]) - {0, self._team.number}:
            self._team.tell(number, subject)

    def take_from_dead(self) -> None:
        """Let places of dead workers count as free: the kernel has given them back.

        Looks at AT_ONCE places, and the next time at those that follow.
        """
        taken = [at for at in range(_FRONT, len(self._map)) if self._map[at]]
        self._looked = self._looked + AT_ONCE if self._looked + AT_ONCE < len(taken) else 0
        for at in taken[self._looked : self._looked + AT_ONCE]:
            self._free_if_dead(at)

    def _free_if_dead(self, at: int) -> None:
        if at not in self._mine and lock_byte(self._file, at):
            self._map[at] = 0
            unlock_byte(self._file, at)

    def _clear(self, number: int) -> None:
        mark, at = bytes([number]), _FRONT - 1
        while (at := self._map.find(mark, at + 1)) >= 0:
            self._free_if_dead(at)

    def close(self) -> None:
        """Give all back. The last one that has the file open removes it."""
        while self._mine:
            self.give_back()
        self.wait_since(0.0)
        self._since.release()
        self._map.close()
        if lock_byte(self._file, _IN_USE):
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def wait_no_more(team: WorkerTeam, name: bytes) -> None:
    """This worker waits for no place of that name: who had its number before was killed."""
    try:
        descriptor = os.open(team.folder / f"{name.decode()}.places", os.O_WRONLY | os.O_NOFOLLOW)
    except (OSError, ValueError):  # the file is gone, or it was never its name
        return
    try:
        os.pwrite(descriptor, bytes(8), 8 * team.number)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """The file, made if necessary, and in use. Raises OSError."""
    while True:
        descriptor = open_own(path)
        if lock_byte(descriptor, _IN_USE, shared=True) and os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # somebody removes it at this moment
