"""A worker's numbers in shared memory: one process writes, all may read, a kill loses nothing.

A page is a file mapped into memory. It holds named blocks of doubles and a ring of short
texts. The writer holds a lock on the file, so the kernel tells when the writer is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..system.shared_folder import is_held
from ..system.turns import in_turns
from .blocks import NAME, BlockIndex, PageBlocks

CELLS = 1 << 17
"""Doubles in a page: 1 MiB."""
NAMES = 1 << 19
"""Bytes for their names."""
RING, ENTRY = 64, 512
"""How many texts are kept (the latest), and the bytes of one."""

_HEADER = struct.Struct("<8sIII")  # magic, cells in use, bytes of names in use, texts written
_MAGIC = b"hipache1"
_CELLS_AT = 64
_NAMES_AT = _CELLS_AT + 8 * CELLS
_RING_AT = _NAMES_AT + NAMES
_SIZE = _RING_AT + RING * ENTRY

Cells: TypeAlias = "memoryview[float]"
"""Doubles; `cells[3] += 1` costs 0.1 us."""


class Page:
    """One worker's page. Without `path` it is private memory, which nobody else can read."""

    def __init__(self, info: dict[str, Any], path: Path | None = None) -> None:
        """`info` says whose page it is. Raises OSError if there is no room for the file."""
        self._file = -1 if path is None else _new_file(path)
        self.path = path
        self._memory = mmap.mmap(self._file, _SIZE)
        self._view = memoryview(self._memory)
        self._cells = self._view[_CELLS_AT:_NAMES_AT].cast("d")
        self._index = BlockIndex()
        self._used = self._named = self._written = 0
        self._write_header()
        self.block(json.dumps(info), 0)
        if path is not None:
            path.with_suffix(".new").rename(path)  # complete and locked from its first moment

    def block(self, name: str, size: int) -> Cells | None:
        """`size` zeros of our own under `name`, or None when the page is full."""
        text = name.encode("utf-8", "surrogateescape")
        end = self._named + NAME.size + len(text)
        if self._used + size > CELLS or end > NAMES or len(text) > 0xFFFF:
            return None
        at = _NAMES_AT + self._named
        NAME.pack_into(self._view, at, self._used, size, len(text))
        self._view[at + NAME.size : at + NAME.size + len(text)] = text
        cells = self._cells[self._used : self._used + size]
        self._used += size
        self._named = end
        self._write_header()
        return cells

    def add_text(self, text: str) -> None:
        """Put `text` into the ring, unless it is too long for an entry."""
        data = text.encode("utf-8", "surrogateescape")
        if len(data) > ENTRY - 2:
            return
        at = _RING_AT + self._written % RING * ENTRY
        self._view[at : at + 2 + len(data)] = struct.pack("<H", len(data)) + data
        self._written += 1
        self._write_header()

    def _write_header(self) -> None:
        _HEADER.pack_into(self._view, 0, _MAGIC, self._used, self._named, self._written)

    def read(self) -> Content:
        """Its present content."""
        cells, names, texts = _copied(self._view, self._index.known)
        for _ in self._index.learn(names):
            pass
        return _content(self._index, cells, texts)

    def close(self) -> None:
        """Release the page; its file keeps the counts for its readers."""
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping holds the file open
            os.close(self._file)
            self._file = -1


def _new_file(path: Path) -> int:
    file = os.open(path.with_suffix(".new"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Not a hole: if memory ran out later, SIGBUS would end us.
        os.posix_fallocate(file, 0, _SIZE)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        os.close(file)
        with contextlib.suppress(OSError):
            path.with_suffix(".new").unlink()
        raise
    return file


@dataclass(slots=True)
class Content:
    """A page as it was read."""

    info: dict[str, Any]
    blocks: PageBlocks
    texts: list[str] = field(default_factory=list)


async def read_file(path: Path, index: BlockIndex) -> tuple[Content, bool] | None:
    """The page in this file and whether its writer lives; None if the file holds no page.

    `index` is that of earlier readings, or an empty one. Other tasks run while it learns names.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        alive = is_held(file)
        with mmap.mmap(file, _SIZE, access=mmap.ACCESS_READ) as memory, memoryview(memory) as view:
            cells, names, texts = _copied(view, index.known)
        async for _ in in_turns(index.learn(names)):
            pass
        return _content(index, cells, texts), alive
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)


def _content(index: BlockIndex, cells: bytes, texts: list[str]) -> Content:
    return Content(json.loads(index.info), PageBlocks(index, cells), texts)


def _copied(view: memoryview, known: int) -> tuple[bytes, bytes, list[str]]:
    """Cells, the names behind those that are `known`, and texts, all of one moment."""
    magic, used, named, written = _HEADER.unpack_from(view)
    if magic != _MAGIC:
        raise ValueError("no page")
    return (
        bytes(view[_CELLS_AT : _CELLS_AT + 8 * used]),
        bytes(view[_NAMES_AT + known : _NAMES_AT + named]),
        list(_texts(view, written)),
    )


def _texts(view: memoryview, written: int) -> Iterator[str]:
    """Oldest first. A text that is being written may be torn; the reader must check it anyway."""
    for number in range(max(0, written - RING), written):
        at = _RING_AT + number % RING * ENTRY
        length = int.from_bytes(view[at : at + 2], "little")
        yield bytes(view[at + 2 : at + 2 + length]).decode("utf-8", "replace")
