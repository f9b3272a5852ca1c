"""`file:PATH`: frontends in a text file, taken over whole or not at all when it changes.

Marks live in each worker: nobody else reads them from a file.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from watchfiles import awatch

from ...errors import StoreUnavailable
from ...routing import NO_MARKS, Backend, Frontend, Mark, Marks, lookup_keys, parse_frontend
from ...system.file_stamp import Stamp, stamp_of
from ..base import Checked, Found, StoreListener
from ..served import Parts, served_by
from ..table import Entry, TableError, parse_table
from .check_records import FileCheckRecords
from .leases import FileLeases
from .presence import FilePresence
from .uses import FileUses

logger = logging.getLogger(__name__)

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
            self._load(listener)

    def _load(self, listener: StoreListener) -> None:
        try:
            text = self._path.read_text("utf-8")
            if not text.strip():
                raise TableError(f"{self._path} line 1: the file is empty")
            entries = parse_table(text, str(self._path))
        except (OSError, UnicodeDecodeError, TableError) as exc:
            self._refuse(str(exc), listener)
            return
        first = self._frontends is None
        before, after = self._served, served_by(entries)
        known = self._frontends or {}
        changed = {key for key in before | after if before.get(key) != after.get(key)}
        self._entries, self._served = entries, after
        self._frontends = {
            key: known[key] if key not in changed and key in known else parse_frontend(key, *parts)
            for key, parts in after.items()
        }
        logger.info("routes read file=%s frontends=%d", self._path, len(entries))
        if first:
            listener.tracking()
        for key in changed:
            listener.frontend_changed(key)
        self._presence.serves(self._stamp)

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
