"""What the processes of one run tell each other: when each frontend was written, and how often."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable
from typing import cast

CHANGING = 10_000
"""Frontends that are changed in turn: the first ones."""
BUCKET = 0.0001
"""Seconds in one step of a Histogram."""


class SharedNumbers:
    """Anonymous memory that forked processes share. The writer alone writes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (3 * CHANGING + 1))
        numbers = memoryview(self._memory)
        self.sent = cast("memoryview[float]", numbers[: 8 * CHANGING].cast("d"))  # type: ignore[redundant-cast]
        """By frontend: when its last change was sent, on the monotonic clock."""
        self.version = numbers[8 * CHANGING : 16 * CHANGING].cast("q")
        """By frontend: the last change that the server has taken."""
        self.taken = numbers[16 * CHANGING : 24 * CHANGING].cast("d")
        """By frontend: when it had taken that."""
        self._port = numbers[24 * CHANGING :].cast("q")

    @property
    def port(self) -> int:
        """Where the primary is, as a Sentinel would tell."""
        return int(self._port[0])

    @port.setter
    def port(self, port: int) -> None:
        self._port[0] = port


class Histogram:
    """Durations, to a tenth of a millisecond."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float, count: int = 1) -> None:
        """One more, or so many."""
        self._counts[int(seconds / BUCKET)] += count

    def merge(self, others: Iterable[Histogram]) -> Histogram:
        """All of them together."""
        for other in others:
            self._counts.update(other._counts)
        return self

    @property
    def count(self) -> int:
        """How many there are."""
        return self._counts.total()

    def quantile(self, share: float) -> float:
        """Milliseconds within which that share of them was; 0 of none.

        >>> many = Histogram()
        >>> for n in range(100):
        ...     many.add(n / 1000)
        >>> many.quantile(0.99)
        98.1
        """
        wanted, passed = share * self.count, 0
        for bucket in sorted(self._counts):
            passed += self._counts[bucket]
            if passed >= wanted:
                return round((bucket + 1) * BUCKET * 1000, 1)
        return 0.0


def packed(*command: str | int) -> bytes:
    """A command as Redis reads it."""
    parts = [str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def host(number: int) -> str:
    """A frontend's key."""
    return f"s{number:06d}.scale.example"
