"""Named blocks of doubles as they were at one moment, taken apart only where somebody looks.

A page of a worker has thousands of blocks, and a sum of pages is taken every second or two while
somebody looks. An array for each block would keep the event loop and the garbage collector busy,
so what was read stays in one piece, with an index that is made once and grows with its page.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import add

NAME = struct.Struct("<IHH")
"""In front of a name: its first cell, how many it has, the bytes of the name."""
_CELL = 8


class BlockIndex:
    """Where the blocks of one page are, by their names. A page never loses any."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        """First byte, and the byte behind the last one."""
        self.kinds: dict[str, list[str]] = {}
        """Names by what stands before their first NUL."""
        self.known = 0
        """Bytes of names that were learned."""
        self.info = "{}"
        """The first name, which has no cells: whose page it is."""

    def learn(self, names: bytes) -> Iterator[None]:
        """Learn the names behind those that are known, one at a step."""
        at = 0
        while at < len(names):
            first, size, length = NAME.unpack_from(names, at)
            at += NAME.size + length
            name = names[at - length : at].decode("utf-8", "surrogateescape")
            if self.known:
                self.places[name] = first * _CELL, (first + size) * _CELL
                self.kinds.setdefault(name.partition("\0")[0], []).append(name)
            else:
                self.info = name
            self.known += NAME.size + length
            yield


class PageBlocks(Mapping[str, "array[float]"]):
    """The blocks of one page."""

    __slots__ = ("_cells", "source")

    def __init__(self, index: BlockIndex, cells: bytes) -> None:
        self.source = index
        self._cells = cells

    def __getitem__(self, name: str) -> array[float]:
        if name not in self:
            raise KeyError(name)
        first, end = self.source.places[name]
        return array("d", self._cells[first:end])

    def __contains__(self, name: object) -> bool:
        place = self.source.places.get(name)  # type: ignore[call-overload]
        return place is not None and place[1] <= len(self._cells)  # the index may have grown

    def __iter__(self) -> Iterator[str]:
        length = len(self._cells)
        return (name for name, place in list(self.source.places.items()) if place[1] <= length)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def of_kind(self, kind: str) -> Iterator[str]:
        """Names that begin with `kind` and NUL."""
        return filter(self.__contains__, self.source.kinds.get(kind, [])[:])

    def differing(self, before: PageBlocks) -> Iterator[str | None]:
        """The names of blocks that have changed since, and None for each that has not."""
        now, then = self._cells, before._cells
        for name, (first, end) in list(self.source.places.items()):
            yield None if now[first:end] == then[first:end] else name


class StoredBlocks(Mapping[str, "array[float]"]):
    """Blocks that change no more."""

    __slots__ = ("source",)

    def __init__(self, source: Mapping[str, bytes]) -> None:
        self.source = source

    def __getitem__(self, name: str) -> array[float]:
        return array("d", self.source[name])

    def __contains__(self, name: object) -> bool:
        return name in self.source

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def of_kind(self, kind: str) -> Iterator[str]:
        """Names that begin with `kind` and NUL."""
        return (name for name in self.source if name.startswith(f"{kind}\0"))

    def __len__(self) -> int:
        return len(self.source)


class SummedBlocks(Mapping[str, "array[float]"]):
    """The sums of blocks of the same name."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[PageBlocks | StoredBlocks]) -> None:
        self._parts = tuple(parts)

    def __getitem__(self, name: str) -> array[float]:
        found: array[float] | None = None
        for part in self._parts:
            if name in part:
                cells = part[name]
                found = cells if found is None else array("d", map(add, found, cells))
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return _each_once(self._parts)

    def of_kind(self, kind: str) -> Iterator[str]:
        """Names that begin with `kind` and NUL."""
        return _each_once([part.of_kind(kind) for part in self._parts])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def differing(self, before: SummedBlocks) -> Iterator[str | None]:
        """Names of blocks that may have changed since, some twice; None for each that has not."""
        earlier = {id(part.source): part for part in before._parts}
        for part in self._parts:
            then = earlier.pop(id(part.source), None)
            if then is None:
                yield from part
            elif isinstance(part, PageBlocks) and isinstance(then, PageBlocks):
                yield from part.differing(then)
        for part in earlier.values():  # of workers that have ended since
            yield from part


def _each_once(some: Iterable[Iterable[str]]) -> Iterator[str]:
    seen: set[str] = set()
    for names in some:
        for name in names:
            if name not in seen:
                seen.add(name)
                yield name
