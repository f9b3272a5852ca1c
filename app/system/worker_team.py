"""The workers of one proxy, as they know each other: each has a number and can be told a word.

    team            a lock for each number in use
    <number>.sock   a datagram socket: what is told to the worker of that number

The number of a killed worker is free again; a worker that takes it finds what was left under it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .kernel_locks import can_lock_bytes, lock_byte
from .shared_folder import open_own

logger = logging.getLogger(__name__)

MOST_MEMBERS = 255
LONGEST_WORD = 8_192
"""Bytes."""
AT_ONCE = 100
"""Words that are heard before others have their turn."""


class WorkerTeam:
    """This worker among those that share `folder`. Belongs to one event loop."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder cannot be used, or has too many workers."""
        if not can_lock_bytes():
            raise OSError("this system has no locks for it")
        self.folder = folder
        self._numbers = open_own(folder / "team")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.number = self._take_number()
            path = self._address(self.number)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            self._sock.bind(path)
        except OSError:
            self.close()
            raise
        self._hearers: dict[bytes, Callable[[bytes], None]] = {}
        self._hear_rest: Callable[[bytes], None] = lambda subject: None

    def _take_number(self) -> int:
        for number in range(1, MOST_MEMBERS + 1):
            if lock_byte(self._numbers, number):
                return number
        raise OSError(f"more than {MOST_MEMBERS} workers")

    def _address(self, number: int) -> str:
        return str(self.folder / f"{number}.sock")

    def start(self) -> None:
        """Hear what is told from now on."""
        asyncio.get_running_loop().add_reader(self._sock, self._heard)

    def hear(self, subject: bytes, hearer: Callable[[bytes], None]) -> None:
        """Call `hearer` with what follows `subject` and a space."""
        self._hearers[subject] = hearer

    def hear_rest(self, hearer: Callable[[bytes], None]) -> None:
        """Call `hearer` with every subject for which nobody is here."""
        self._hear_rest = hearer

    def hear_no_more(self, subject: bytes) -> None:
        """Nobody here cares for it any more."""
        self._hearers.pop(subject, None)

    def _heard(self) -> None:
        for _ in range(AT_ONCE):
            try:
                word = self._sock.recv(LONGEST_WORD)
            except OSError:  # nothing more to hear
                return
            subject, _, rest = word.partition(b" ")
            if (hearer := self._hearers.get(subject)) is not None:
                hearer(rest)
            else:
                self._hear_rest(subject)

    def tell(self, number: int, subject: bytes, rest: bytes = b"") -> bool:
        """Tell that worker; False where there is none of that number. Never waits: a worker that
        is held up hears no more than its socket takes."""
        try:
            self._sock.sendto(subject + b" " + rest, self._address(number))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def tell_all(self, subject: bytes, rest: bytes) -> None:
        """Tell all others, as `tell` does."""
        for path in self.folder.glob("*.sock"):
            if path.stem.isdecimal() and int(path.stem) != self.number:
                self.tell(int(path.stem), subject, rest)

    def close(self) -> None:
        """Leave."""
        with contextlib.suppress(RuntimeError, ValueError):
            asyncio.get_running_loop().remove_reader(self._sock)
        if hasattr(self, "number"):
            with contextlib.suppress(OSError):
                os.unlink(self._address(self.number))
        self._sock.close()
        os.close(self._numbers)


@contextmanager
def joined_team(folder: Path | None, wanted: bool) -> Iterator[WorkerTeam | None]:
    """This worker in the team of those who share the folder, if that is wanted.

    None, with a warning, where it has to count for itself.
    """
    if not wanted:
        yield None
        return
    try:
        if folder is None:
            raise FileNotFoundError("the workers share no folder")
        team = WorkerTeam(folder)
    except OSError as exc:
        logger.warning("server.maxSocketsShared: this worker counts for itself cause=%s", exc)
        yield None
        return
    team.start()
    try:
        yield team
    finally:
        team.close()
