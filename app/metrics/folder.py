"""The sum of the pages of all workers of one proxy; one file holds the sum of dead workers.

They are in the folder that the workers share (system.shared_folder). No process owns them:
each reader adds the pages up, and folds those of dead workers into the sum.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..system.turns import in_turns
from .blocks import BlockIndex, PageBlocks, StoredBlocks, SummedBlocks
from .families import COUNTER, GAUGE
from .page import RING, Content, Page, read_file

logger = logging.getLogger(__name__)

_REMEMBERED = 1000  # names of folded pages, for readers that have seen them before they went
_DRAINED = "\0".join((COUNTER, "exits", "drained"))
_DIED = "\0".join((COUNTER, "exits", "died"))


@dataclass(slots=True)
class Sum:
    """What all workers have counted, and the page of each live worker."""

    blocks: SummedBlocks
    workers: list[Content] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


class _Kept(msgspec.Struct):
    """What is kept of the pages of dead workers."""

    folded: list[str] = []
    blocks: dict[str, bytes] = {}
    texts: list[str] = []


class Folder:
    """One proxy's pages in `path`. Every worker has its own object for the same path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._indexes: dict[str, BlockIndex] = {}
        """Of the pages that were read last, by the names of their files."""
        self._kept_status: tuple[int, int, int] | None = None
        self._kept_content = _Kept()
        self._summing = asyncio.Lock()

    def new_page(self, info: dict[str, Any]) -> Page:
        """A page for this worker. Raises OSError."""
        return Page(info, self.path / f"{os.getpid()}-{secrets.token_hex(4)}.page")

    async def sum(self) -> Sum:
        """Everything that was ever counted here, exactly once."""
        async with self._summing:  # the indexes are shared
            return await self._sum()

    async def _sum(self) -> Sum:
        pages: dict[str, Content] = {}
        dead: dict[str, Content] = {}
        indexes, self._indexes = self._indexes, {}
        async for path in in_turns(sorted(self.path.glob("*.page"))):
            index = self._indexes[path.name] = indexes.get(path.name, BlockIndex())
            found = await read_file(path, index)
            if found is not None:
                (pages if found[1] else dead)[path.name] = found[0]
        # Read this last: it has what was folded since, and those pages must not count twice. One
        # of a worker that lived when it was read may be among them.
        kept = self._kept()
        folded = set(kept.folded)
        parts: list[PageBlocks | StoredBlocks] = [StoredBlocks(kept.blocks)]
        texts = list(kept.texts)
        for name, content in dead.items():
            if name not in folded:
                parts.append(await _of_ended(content))
                texts += content.texts
        if dead.keys() - folded:
            await self._keep(SummedBlocks(parts), texts, [*kept.folded, *dead], kept)
        workers = [content for name, content in pages.items() if name not in folded]
        parts += [content.blocks for content in workers]
        texts += [text for content in workers for text in content.texts]
        return Sum(SummedBlocks(parts), workers, texts)

    def _kept(self) -> _Kept:
        """It is read again only where it was replaced."""
        path = self.path / "kept"
        try:
            status = path.stat()
            now = status.st_ino, status.st_mtime_ns, status.st_size
            if now != self._kept_status:
                self._kept_content = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
                self._kept_status = now
        except FileNotFoundError:
            return _Kept()
        return self._kept_content

    async def _keep(
        self, sums: SummedBlocks, texts: list[str], folded: list[str], before: _Kept
    ) -> None:
        """Replace the pages of dead workers by their sum, unless another process is doing so."""
        blocks = {name: cells.tobytes() async for name, cells in in_turns(sums.items())}
        with self.locked() as mine:
            if not mine or self._kept().folded != before.folded:
                return
            folded = list(dict.fromkeys(folded))
            self.write("kept", _Kept(folded[-_REMEMBERED:], blocks, texts[-RING:]))
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


async def _of_ended(content: Content) -> StoredBlocks:
    """What a dead worker counted. Its states do not count, but its end does."""
    found = {
        name: cells.tobytes()
        async for name, cells in in_turns(content.blocks.items())
        if not name.startswith(GAUGE)
    }
    drained = f"{GAUGE}\0ended" in content.blocks
    once = array("d", [1]).tobytes()
    return StoredBlocks(found | {_DRAINED if drained else _DIED: once})
