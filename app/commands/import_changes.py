"""What an import changes, on the disk: little of a large table is in memory at a time."""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from ..stores.key_pattern import EVERY_KEY
from ..stores.sorted_keys import SortedKeys, in_pieces
from ..stores.spooled_table import SpooledTable, order_of
from ..stores.table import Entry
from ..stores.table_pieces import FRONTENDS_AT_ONCE, sort_keys
from ..stores.tables import RouteTable

IN_A_BLOCK = 500
"""Changes that are written to the disk at once."""


class FrontendChange(NamedTuple):
    """One frontend that does not stay as it is."""

    key: str
    before: Entry | None
    """What the store held when it was read."""
    after: Entry | None
    """What it shall hold."""

    @property
    def rows(self) -> int:
        """Rows and fields that are written."""
        return max(map(_rows, (self.before, self.after)))


class ImportChanges:
    """Frontends to be written, and then those to be removed. A context manager.

    Raises OSError where there is no room for temporary files.
    """

    def __init__(self) -> None:
        self._written, self._removed = _Blocks(), _Blocks()
        self.added = self.changed = self.removed = self.rows = 0

    def __enter__(self) -> ImportChanges:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._written.close()
        self._removed.close()

    def add(self, change: FrontendChange) -> None:
        """One more, in the order of `order_of`."""
        self.rows += change.rows
        if change.after is None:
            self._removed.add(change)
            self.removed += 1
        else:
            self._written.add(change)
            self.added += change.before is None
            self.changed += change.before is not None

    def __len__(self) -> int:
        return self.added + self.changed + self.removed

    def __iter__(self) -> Iterator[FrontendChange]:
        # Prefixes come after their host and go before it: they inherit its options.
        for number in range(self._written.count):
            yield from self._written.block(number)
        for number in reversed(range(self._removed.count)):
            yield from reversed(self._removed.block(number))

    def pieces(self, rows_at_once: int | None) -> Iterator[list[FrontendChange]]:
        """As many at a time as the store takes in one change."""
        piece: list[FrontendChange] = []
        rows = 0
        for change in self:
            if piece and rows_at_once is not None and rows + change.rows > rows_at_once:
                yield piece
                piece, rows = [], 0
            piece.append(change)
            rows += change.rows
        if piece:
            yield piece


async def compared(
    table: RouteTable, wanted: SpooledTable, *, whole: bool, advance: Callable[[int], None]
) -> AsyncIterator[FrontendChange]:
    """What is `wanted` beside what the store holds, frontends that stay as they are too.

    With `whole` those that are not wanted are removed. `advance` hears how many were looked at.
    """
    for some in in_pieces(wanted, FRONTENDS_AT_ONCE):
        before = await table.read([key for key, _ in some])
        for key, entry in some:
            yield FrontendChange(key, before.get(key), entry)
        advance(len(some))
    if not whole:
        return
    with SortedKeys(order_of) as there:
        await sort_keys(table, EVERY_KEY, there)
        for keys in in_pieces(_without(there, (key for key, _ in wanted)), FRONTENDS_AT_ONCE):
            before = await table.read(keys)
            for key in keys:
                if key in before and before[key].says_something:
                    yield FrontendChange(key, before[key], None)


def _without(keys: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """The keys that are not among the others; both in the order of `order_of`."""
    rest = iter(others)
    other = next(rest, None)
    for key in keys:
        while other is not None and order_of(other) < order_of(key):
            other = next(rest, None)
        if key != other:
            yield key


def _rows(entry: Entry | None) -> int:
    return len(entry.rows) + len(entry.options) + len(entry.healthcheck) if entry else 0


class _Blocks:
    """Changes in one temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self._places: list[int] = []
        self._some: list[tuple[Any, ...]] = []

    def add(self, change: FrontendChange) -> None:
        self._some.append((change.key, _packed(change.before), _packed(change.after)))
        if len(self._some) == IN_A_BLOCK:
            self._places.append(self._file.seek(0, 2))
            marshal.dump(self._some, self._file)
            self._some = []

    @property
    def count(self) -> int:
        """The last block is still in memory."""
        return len(self._places) + 1

    def block(self, number: int) -> list[FrontendChange]:
        some = self._some
        if number < len(self._places):
            self._file.seek(self._places[number])
            some = marshal.load(self._file)
        return [FrontendChange(key, _entry(before), _entry(after)) for key, before, after in some]

    def close(self) -> None:
        self._file.close()


def _packed(entry: Entry | None) -> tuple[Any, ...] | None:
    if entry is None:
        return None
    settings = dict(entry.options), dict(entry.healthcheck)
    rest = entry.ttl, entry.listed, entry.below, entry.named
    return entry.identifier, entry.backends, *settings, *rest


def _entry(packed: tuple[Any, ...] | None) -> Entry | None:
    return None if packed is None else Entry(*packed)
