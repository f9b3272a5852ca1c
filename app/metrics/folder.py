"""The sum of the pages of all workers of one proxy; one file holds the sum of dead workers.

They are in the folder that the workers share (system.shared_folder). No process owns them:
each reader adds the pages up, and folds those of dead workers into the sum.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from typing import Any

import msgspec

from .families import COUNTER, GAUGE
from .page import RING, Content, Page, read_file
from .yield_budget import in_turns

logger = logging.getLogger(__name__)

_REMEMBERED = 1000  # names of folded pages, for readers that have seen them before they went
_DRAINED = "\0".join((COUNTER, "exits", "drained"))
_DIED = "\0".join((COUNTER, "exits", "died"))


@dataclass(slots=True)
class Sum:
    """What all workers have counted, and the page of each live worker."""

    blocks: dict[str, array[float]] = field(default_factory=dict)
    workers: list[Content] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, name: str, cells: array[float]) -> None:
        before = self.blocks.get(name)
        self.blocks[name] = cells if before is None else array("d", map(add, before, cells))


class _Kept(msgspec.Struct):
    """What is kept of the pages of dead workers."""

    folded: list[str] = []
    blocks: dict[str, bytes] = {}
    texts: list[str] = []


class Folder:
    """One proxy's pages in `path`. Every worker has its own object for the same path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def new_page(self, info: dict[str, Any]) -> Page:
        """A page for this worker. Raises OSError."""
        return Page(info, self.path / f"{os.getpid()}-{secrets.token_hex(4)}.page")

    async def sum(self) -> Sum:
        """Everything that was ever counted here, exactly once."""
        pages: dict[str, Content] = {}
        dead: dict[str, Content] = {}
        async for path in in_turns(sorted(self.path.glob("*.page"))):
            found = await read_file(path)
            if found is not None:
                (pages if found[1] else dead)[path.name] = found[0]
        # Read this last: it has what was folded since, and those pages must not count twice. One
        # of a worker that lived when it was read may be among them.
        kept = self._kept()
        folded = set(kept.folded)
        total = Sum(texts=list(kept.texts))
        async for name, data in in_turns(kept.blocks.items()):
            total.add(name, array("d", data))
        for name, content in dead.items():
            if name not in folded:
                await _add(total, content, alive=False)
        if dead.keys() - folded:
            self._keep(total, [*kept.folded, *dead], kept)
        for name, content in pages.items():
            if name not in folded:
                total.workers.append(content)
                await _add(total, content, alive=True)
        return total

    def _kept(self) -> _Kept:
        try:
            return msgspec.msgpack.decode((self.path / "kept").read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()

    def _keep(self, total: Sum, folded: list[str], before: _Kept) -> None:
        """Replace the pages of dead workers by their sum, unless another process is doing so."""
        with self.locked() as mine:
            if not mine or self._kept().folded != before.folded:
                return
            blocks = {name: cells.tobytes() for name, cells in total.blocks.items()}
            folded = list(dict.fromkeys(folded))
            self.write("kept", _Kept(folded[-_REMEMBERED:], blocks, total.texts[-RING:]))
            for name in folded:
                (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, value: msgspec.Struct) -> None:
        """Replace a file as a whole."""
        new = self.path / f"{name}.{os.getpid()}"
        new.write_bytes(msgspec.msgpack.encode(value))
        new.rename(self.path / name)

    def leave_note(self, name: str) -> None:
        """Leave a note that lives as long as the folder."""
        with contextlib.suppress(OSError):  # no room: then there is no note
            (self.path / name).touch()

    def has_note(self, name: str) -> bool:
        """Whether such a note was left."""
        return (self.path / name).exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """True, with the lock held; False if another process is changing a file."""
        file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(file)


async def _add(total: Sum, content: Content, *, alive: bool) -> None:
    """Add a page. A dead worker's states do not count, but its end does."""
    drained = f"{GAUGE}\0ended" in content.blocks
    async for name, cells in in_turns(content.blocks.items()):
        if alive or not name.startswith(GAUGE):
            total.add(name, cells)
    total.texts += content.texts
    if not alive:
        total.add(_DRAINED if drained else _DIED, array("d", [1]))
