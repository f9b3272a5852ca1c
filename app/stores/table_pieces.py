"""A large table piece by piece: nobody has to hold all of it in memory."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple, Protocol

from ..system.turns import in_turns
from .key_pattern import KeyPattern
from .sorted_keys import SortedKeys, in_pieces
from .table import Table, TableError
from .tables import RouteTable

FRONTENDS_AT_ONCE = 250
"""Frontends of one piece."""
KEYS_AT_ONCE = 200
"""Keys that are put in order before other tasks run; as many as are wanted, where more are."""


class Scanned(Protocol):
    """What can be asked for its keys, as a RouteTable can."""

    async def scan(self, cursor: int, matching: KeyPattern) -> tuple[int, list[str]]:
        """As RouteTable.scan."""


async def all_keys(table: Scanned, matching: KeyPattern) -> AsyncIterator[list[str]]:
    """All keys that match, some at a time, in no order; one may come twice."""
    cursor, keys = await table.scan(0, matching)
    yield keys
    while cursor:
        cursor, keys = await table.scan(cursor, matching)
        yield keys


async def sort_keys(table: Scanned, matching: KeyPattern, keys: SortedKeys) -> None:
    """Put all keys that match into `keys`."""
    async for some in all_keys(table, matching):
        keys.add(some)


async def read_pieces(table: RouteTable, keys: Iterable[str]) -> AsyncIterator[Table]:
    """The frontends of these keys that say anything, in that order, some at a time."""
    for some in in_pieces(keys, FRONTENDS_AT_ONCE):
        found = await table.read(some)
        yield {key: found[key] for key in some if key in found and found[key].says_something}


class FirstKeys(NamedTuple):
    """The first keys of an order."""

    keys: list[str]
    total: int
    """How many match; one that is met twice may count twice."""


async def first_keys(
    table: Scanned,
    matching: KeyPattern,
    most: int,
    order: Callable[[str], Any] | None = None,
    after: str = "",
) -> FirstKeys:
    """The first `most` keys that match, by `order`; without it by themselves, and after `after`.

    Looks at all keys, and holds no more than are wanted.
    """
    first, total, size = list[str](), 0, max(KEYS_AT_ONCE, most)
    async for some in all_keys(table, matching):
        async for piece in in_turns(in_pieces(some, size)):  # a file gives all at once
            keys = set(piece) if not after else {key for key in piece if key > after}
            total += len(keys)
            first = heapq.nsmallest(most, keys.union(first), key=order)
    return FirstKeys(first, total)


class KeyPage(NamedTuple):
    """Some keys, and where those that follow are."""

    keys: list[str]
    following: str
    """Empty where none follow."""


async def page_of(table: Scanned, matching: KeyPattern, most: int, place: str) -> KeyPage:
    """`most` keys that match, those of one look sorted; `place` is empty, or from the page before.

    Looks at no more keys than it must, so keys of different looks are in no order. Raises
    TableError where `place` is none.
    """
    first, comma, after = place.partition(",")
    if place and not (first.isdecimal() and comma):
        raise TableError(f"{place!r} is no place in the table: expected what the last page said")
    cursor = int(first or 0)
    found = list[str]()
    while True:
        following, some = await table.scan(cursor, matching)
        keys = sorted({key for key in some if key > after})
        room = most - len(found)
        if len(keys) > room:
            return KeyPage(found + keys[:room], f"{cursor},{keys[room - 1]}")
        found += keys
        if not following:
            return KeyPage(found, "")
        if len(found) == most:
            return KeyPage(found, f"{following},")
        cursor, after = following, ""
