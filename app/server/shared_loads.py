"""How much each worker of one service has and gets, in memory that they share."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import mmap
import os
import select

logger = logging.getLogger("hipache.server")

ROWS = 512
"""Workers, those that drain included, that can be told apart. More of them just take what comes."""


class SharedLoads:
    """How many connections each worker has, in memory that they share. Made before they are.

    The lock on a row says whose it is; the kernel gives it back when the worker ends.
    """

    def __init__(self) -> None:
        """Raises OSError."""
        self._file = os.memfd_create("hipache-loads")
        try:
            os.ftruncate(self._file, ROWS * 13)
            memory = memoryview(mmap.mmap(self._file, ROWS * 13))
        except OSError:
            os.close(self._file)
            raise
        self.lately = memory[: ROWS * 8].cast("d")
        """Connections that came lately, as `one_more` counts them."""
        self.counts = memory[ROWS * 8 : ROWS * 12].cast("i")
        """Connections and one more; 0 in a row that belongs to nobody."""
        self.away = memory[ROWS * 12 :]
        """Whether that worker looks away."""

    @classmethod
    def made(cls) -> SharedLoads | None:
        """None where the system has no such memory, or no epoll to look away with."""
        if not (hasattr(os, "memfd_create") and hasattr(select, "epoll")):
            return None
        try:
            return cls()
        except OSError as exc:  # a sandbox may refuse it
            logger.warning("workers do not share connections evenly cause=%s", exc.strerror or exc)
            return None

    def take_row(self) -> int | None:
        """A row for this process; None if all are taken. Raises OSError."""
        for row in range(ROWS):
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
                self.away[row] = 0
                self.lately[row] = max(self.lately)  # as if it had long been there
                self.counts[row] = 1
                return row
        return None

    def give_back(self, row: int) -> None:
        """This process takes no more connections."""
        self.counts[row] = 0
        self.away[row] = 1
        with contextlib.suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)

    def others(self, row: int) -> list[int]:
        """The rows of all other workers that take connections. Raises OSError."""
        return [each for each, count in enumerate(self.counts) if count and self._lives(each, row)]

    def _lives(self, row: int, ours: int) -> bool:
        if row == ours:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, row)
        except BlockingIOError:
            return True
        self.counts[row] = 0  # it was killed
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)
        return False


def one_more(lately: float, now: float) -> float:
    """Count a connection that comes `now`, in seconds, into what came lately.

    A connection counts half as much after each second. What is kept is the binary logarithm of
    that sum, plus the time. So it needs no change while nothing comes, and a worker that took more
    lately than another has the greater number at any time.
    """
    return now + math.log2(1 + 2.0 ** (lately - now))
