"""Many keys in order, on the disk: a command that works on a million needs memory for some."""

from __future__ import annotations

import heapq
import marshal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import IO, Any, TypeVar

AT_ONCE = 50_000
"""Keys that are kept in memory until they are sorted."""
IN_A_BLOCK = 1_000
"""Keys of each sorted file that are in memory while they are merged."""

T = TypeVar("T")


class SortedKeys:
    """Takes keys in any order, some twice; gives each once, in order. A context manager.

    Raises OSError where there is no room for temporary files.
    """

    def __init__(
        self, order: Callable[[str], Any] | None = None, *, at_once: int = AT_ONCE
    ) -> None:
        """`order`: what keys are sorted by, if not by themselves. `at_once`: keys in memory."""
        self._order, self._at_once = order, at_once
        self._some: set[str] = set()
        self._runs: list[IO[bytes]] = []
        self.count = 0
        """How many were added; those that were added twice may count twice."""
        self.longest = 0
        """Characters of the longest one."""

    def __enter__(self) -> SortedKeys:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for run in self._runs:
            run.close()

    def add(self, keys: Iterable[str]) -> None:
        """Take these, too."""
        before = len(self._some)
        for key in keys:
            self._some.add(key)
            self.longest = max(self.longest, len(key))
        self.count += len(self._some) - before
        if len(self._some) >= self._at_once:
            self._write()

    def _write(self) -> None:
        run = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self._runs.append(run)
        keys = sorted(self._some, key=self._order)
        for start in range(0, len(keys), IN_A_BLOCK):
            marshal.dump(keys[start : start + IN_A_BLOCK], run)
        self._some.clear()

    def __iter__(self) -> Iterator[str]:
        runs = [_read(run) for run in self._runs]
        last: str | None = None
        rest = sorted(self._some, key=self._order)
        for key in heapq.merge(*runs, rest, key=self._order):
            if key != last:
                yield key
            last = key


def _read(run: IO[bytes]) -> Iterator[str]:
    place, end = 0, run.seek(0, 2)
    while place < end:
        run.seek(place)
        keys = marshal.load(run)
        place = run.tell()
        yield from keys


def in_pieces(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """So many at a time, the last ones fewer.

    >>> list(in_pieces("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    piece: list[T] = []
    for value in values:
        piece.append(value)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece
