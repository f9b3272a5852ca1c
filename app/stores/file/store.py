"""`file:PATH`: frontends in a text file, taken over whole or not at all when it changes.

Marks live in each worker: nobody else reads them from a file.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from watchfiles import awatch

from ...errors import StoreUnavailable
from ...routing import NO_MARKS, Backend, Frontend, Mark, Marks, lookup_keys, parse_frontend
from ...system.file_stamp import Stamp, stamp_of
from ...system.turns import run_in_turns
from ..base import Checked, Found, StoreListener
from ..served import Parts, serving
from ..table import Entry, Table, TableError
from ..table_text import members, parsing
from .check_records import FileCheckRecords
from .leases import FileLeases
from .presence import FilePresence
from .uses import FileUses

logger = logging.getLogger(__name__)

T = TypeVar("T")

MANY = 500
"""Changed frontends, above which all that is known counts as changed: told one after the other they
would take effect over some time."""
READ_EVERY_MS = 500
"""Milliseconds after which the file is looked at even if no event came: network file systems and
symbolic links into other folders send none."""
WRITTEN_AFTER = 0.05
"""Seconds without a change after which a file counts as completely written."""


class FileStore:
    """The table of one file in memory."""

    shares_marks = False
    rates = questions = None

    def __init__(self, path: str) -> None:
        """Reads nothing yet; `watch` does."""
        self.name = f"file:{path}"
        self._path = Path(path).absolute()
        self._frontends: dict[str, Frontend] | None = None
        self._entries: dict[str, Entry] = {}
        self._served: dict[str, Parts] = {}
        self._stamp: Stamp = None
        self._presence = FilePresence(self._path)
        self._reason = "not read yet"
        self.leases = FileLeases(self._path)
        self.checks = FileCheckRecords(self._checked)
        self.uses = FileUses(self._path, lambda: self._entries)

    async def lookup(self, host: str) -> Found | None:
        """From memory. Raises StoreUnavailable while there never was a good table."""
        if self._frontends is None:
            raise StoreUnavailable(self._reason)
        for key in lookup_keys(host):
            if (frontend := self._frontends.get(key)) is not None:
                return Found(frontend)
        return None

    def _checked(self) -> list[Checked]:
        frontends = self._frontends or {}
        entries = self._entries
        return [Checked(f, entries[k].healthcheck) for k, f in frontends.items() if k in entries]

    async def marks(self, frontend: Frontend) -> Marks:
        """None: a file holds no marks."""
        return NO_MARKS

    async def write_mark(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, shared_until: float
    ) -> None:
        """Nothing: `shares_marks` is False."""

    async def erase_mark(self, frontend: Frontend, backend: Backend) -> None:
        """Nothing: `shares_marks` is False."""

    async def announce(self, frontend: Frontend, backend: Backend) -> None:
        """Nothing: nobody listens."""

    async def marked_keys(self) -> list[str]:
        """None: a file holds no marks."""
        return []

    async def watch(self, listener: StoreListener) -> None:
        """Read the file, and again whenever it changes."""
        self._presence.show_up()
        try:
            await self._look_for_ever(listener)
        finally:
            self._presence.release()

    async def _look_for_ever(self, listener: StoreListener) -> None:
        await self._look(listener)
        while True:
            try:
                # The folder, not the file: editors write a new file and rename it.
                async for _ in awatch(
                    self._path.parent, debounce=200, step=20, rust_timeout=READ_EVERY_MS,
                    yield_on_timeout=True, recursive=False,
                ):  # fmt: skip
                    await self._look(listener)
            except OSError as exc:
                logger.error("file store cannot be watched file=%s cause=%s", self._path, exc)
                await asyncio.sleep(READ_EVERY_MS / 1000)
                await self._look(listener)

    async def _look(self, listener: StoreListener) -> None:
        stamp = stamp_of(self._path)
        if stamp == self._stamp and self._stamp is not None:
            listener.heard()
            return
        while True:
            await asyncio.sleep(WRITTEN_AFTER)
            if (again := stamp_of(self._path)) == stamp:
                break
            stamp = again
        if stamp != self._stamp or self._frontends is None:
            self._stamp = stamp
            await self._load(listener)

    async def _load(self, listener: StoreListener) -> None:
        try:
            entries = await self._read()
        except (OSError, UnicodeDecodeError, TableError) as exc:
            self._refuse(str(exc), listener)
            return
        first = self._frontends is None
        before, known = self._served, self._frontends or {}
        after = await run_in_turns(serving(entries))
        changed = await run_in_turns(_changed(before, after))
        frontends = await run_in_turns(_made_of(after, known, changed))
        gone = self._served, known, self._entries
        self._entries, self._served, self._frontends = entries, after, frontends
        logger.info("routes read file=%s frontends=%d", self._path, len(entries))
        if first:
            listener.tracking()
        if len(changed) > MANY:
            listener.everything_changed()
        else:
            for key in changed:
                listener.frontend_changed(key)
        self._presence.serves(self._stamp)
        await run_in_turns(_let_go(*gone))

    async def _read(self) -> Table:
        """The file's table: requests wait for no more than a step. Raises OSError and others."""
        text, source = await asyncio.to_thread(self._path.read_text, "utf-8"), str(self._path)
        if not text.strip():
            raise TableError(f"{source} line 1: the file is empty")
        said: Iterable[tuple[str, Any]] = members(text, source)
        if not source.endswith(".json"):  # TOML is parsed as a whole
            said = _taken(await asyncio.to_thread(deque, said))
        return await run_in_turns(parsing(text, source, said))

    def _refuse(self, reason: str, listener: StoreListener) -> None:
        if self._frontends is None:
            if reason != self._reason:
                listener.unreachable(reason)
            self._reason = reason
        else:
            logger.error("routes refused cause=%s: the last good table keeps serving", reason)

    async def aclose(self) -> None:
        """Give its leases back."""
        self.leases.close()


def _changed(
    before: Mapping[str, Parts], after: Mapping[str, Parts]
) -> Generator[None, None, list[str]]:
    """The keys that do not serve as they did."""
    found: list[str] = []
    for key, parts in after.items():
        if before.get(key) != parts:
            found.append(key)
        yield
    for key in before:
        if key not in after:
            found.append(key)
        yield
    return found


def _made_of(
    served: Mapping[str, Parts], known: Mapping[str, Frontend], changed: Iterable[str]
) -> Generator[None, None, dict[str, Frontend]]:
    """All frontends; those that did not change stay the same objects."""
    new = set(changed)
    found: dict[str, Frontend] = {}
    for key, parts in served.items():
        same = None if key in new else known.get(key)
        found[key] = same or parse_frontend(key, *parts)
        yield
    return found


def _taken(said: deque[T]) -> Iterator[T]:
    """All, of which none is kept."""
    while said:
        yield said.popleft()


def _let_go(*tables: dict[str, Any]) -> Generator[None, None, None]:
    """Nobody uses these tables any more: to free a large one at once takes a tenth of a second."""
    for table in tables:
        while table:
            table.popitem()
            yield
