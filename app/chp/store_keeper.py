"""A hub's routes in a store that several proxies share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..errors import StoreUnavailable
from ..stores.hub_records import HubRecords
from ..system.background import Background
from .hub_table import HubTable
from .target_paths import clean_path

logger = logging.getLogger("hipache.chp")

KEEP_EVERY = 1.0
"""Seconds between two notes in the store of which routes are in use, and two attempts to read it
while it reports no changes."""
READ_WITHIN = 5.0
"""Seconds that the start waits for the store. Without it, requests are answered 503."""


class StoreKeeper:
    """The store decides: the table has what was read there last, in the order of the reads."""

    def __init__(
        self,
        table: HubTable,
        clock: Callable[[], float],
        records: HubRecords,
        *,
        default_target: str | None,
    ) -> None:
        """`clock` gives Unix seconds. `default_target` is written as the route of `/`."""
        self._table = table
        self._clock = clock
        self._records = records
        self._default_target = default_target
        self._texts: dict[str, str] = {}
        self._noted: dict[str, float] = {}
        self._one_read = asyncio.Lock()
        self._stale: set[str] | None = None
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()
        self._tracked = False
        self._away = False
        table.complete = False

    async def add(self, path: str, data: Mapping[str, Any]) -> None:
        """In the store first, then as it is there: another proxy may have written after us."""
        name, kept = self._table.named(path, data)
        await self._records.put(name, json.dumps(kept), self._clock())
        self._texts.pop(name, None)
        await self._read([name])

    async def remove(self, path: str) -> bool:
        """In the store first."""
        name = clean_path(path)
        removed = await self._records.drop(name)
        await self._read([name])
        return removed

    async def gather(self) -> None:
        """What this process knows is written first."""
        if not self._table.complete:
            raise StoreUnavailable("the routes have not been read yet")
        await self._note()
        for name, at in (await self._records.used()).items():
            route = self._table.get(name)
            if route is not None and route.last_activity < at:
                route.last_activity = self._noted[name] = at

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Waits until the first read has succeeded or failed, but not for long."""
        background = Background(self.lost)
        background.spawn(self._records.watch(self), "chp store")
        background.spawn(self._follow(), "chp routes")
        background.spawn(self._note_for_ever(), "chp activity in the store")
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READ_WITHIN):
                    await self._tried.wait()
            yield
        finally:
            await background.aclose()
            with contextlib.suppress(StoreUnavailable):
                await self._note()
            await self._records.aclose()

    # What the store tells.

    def tracking(self) -> None:
        """What was read before may be old."""
        self._tracked = True
        self.changed(None)

    def lost(self, reason: str) -> None:
        """Everything is read again and again until changes are reported."""
        if self._tracked:
            logger.warning("store reports no changes cause=%s", reason)
        self._tracked = False
        self.changed(None)

    def changed(self, names: Sequence[str] | None) -> None:
        """These are to be read again; None: all."""
        if names is None:
            self._stale = None
        elif self._stale is not None:
            self._stale.update(names)
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            stale, self._stale = self._stale, set()
            try:
                await self._read(stale if stale is None else list(stale))
                await self._first_read()
            except StoreUnavailable as exc:
                self._stale = None
                self._is_away(str(exc))
                self._tried.set()
                await asyncio.sleep(KEEP_EVERY)
                continue
            self._is_away(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._tracked else KEEP_EVERY):
                    await self._changed.wait()
            if not self._tracked:
                self._stale = None

    async def _first_read(self) -> None:
        if not self._table.complete:
            if self._default_target is not None:
                await self.add("/", {"target": self._default_target})
            logger.info("routes read store=%s routes=%d", self._records.name, len(self._texts))
            self._table.complete = True
            self._tried.set()

    def _is_away(self, cause: str | None) -> None:
        if cause is not None and not self._away:
            logger.error("store away cause=%s: the last known routes serve", cause)
        elif cause is None and self._away:
            logger.info("store back name=%s", self._records.name)
        self._away = cause is not None

    async def _read(self, names: Sequence[str] | None) -> None:
        """Take over what the store has under these names; None: all that it has.

        One read after the other, so that what is newer is taken over later.
        """
        async with self._one_read:
            if names is None:
                found = await self._records.read_all()
                used = await self._records.used()
                for name in self._texts.keys() - found.keys():
                    self._take(name, None)
                for name, text in found.items():
                    self._take(name, text, used.get(name))
            elif names:
                for name, some in (await self._records.read(names)).items():
                    self._take(name, some)

    def _take(self, name: str, text: str | None, used: float | None = None) -> None:
        if text is None:
            self._texts.pop(name, None)
            self._noted.pop(name, None)
            self._table.remove(name)
        elif self._texts.get(name) != text:
            self._texts[name] = text
            data = _data_of(text)
            if data is None:
                logger.warning("route unreadable path=%s store=%s", name, self._records.name)
                self._table.remove(name)
            else:
                self._table.add(name, data, self._clock() if used is None else used)

    async def _note_for_ever(self) -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY)
            with contextlib.suppress(StoreUnavailable):
                await self._note()

    async def _note(self) -> None:
        """Tell the store which routes were in use here since the last time."""
        noted = self._noted
        used = {
            name: route.last_activity
            for name, route in self._table.all().items()
            if route.last_activity > noted.get(name, 0.0)
        }
        await self._records.touch(used)
        noted.update(used)


def _data_of(text: str) -> dict[str, Any] | None:
    """A route's members; None for what somebody else has written there."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and isinstance(data.get("target"), str) else None
