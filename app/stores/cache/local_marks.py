"""This worker's own marks: they count at once, and reach the store in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ...errors import StoreUnavailable
from ...routing import Backend, Frontend, Mark
from ..base import HISTORY, Store

logger = logging.getLogger(__name__)

RETRY_AFTER = 1.0
"""Seconds until a store that did not take a mark is asked again."""

_NONE: Mapping[str, Mark | None] = MappingProxyType({})


class _Change(NamedTuple):
    frontend: Frontend
    backend: Backend
    mark: Mark | None


class LocalMarks:
    """Marks that the store does not have, or does not have yet."""

    def __init__(self, store: Store, written: Callable[[str, str, Mark | None], None]) -> None:
        """`written(key, url, mark)` is called when the store has taken a change."""
        self.store = store
        self._written = written
        self._marks: dict[str, dict[str, Mark | None]] = {}
        self._to_write: dict[tuple[str, str], _Change] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sweep_at = 1000
        self._told: set[tuple[str, str]] = set()
        self.tell: Callable[[str, str, Mark | None], None] = lambda key, url, mark: None
        """Called with each change that is to be shared."""

    def of(self, key: str) -> Mapping[str, Mark | None]:
        """What this worker says of the backends of `key`, by URL; None: there is no mark."""
        return self._marks.get(key, _NONE)

    def mark(self, frontend: Frontend, backend: Backend, mark: Mark, *, share: bool) -> None:
        """Mark here, and in the store if it shares marks and `share` says so."""
        self._set(frontend, backend, mark, share=share)
        if len(self._marks) > self._sweep_at:
            self._sweep()

    def clear(self, frontend: Frontend, backend: Backend) -> None:
        """No mark here, and none in the store either if it shares marks."""
        self._set(frontend, backend, None, share=True)

    def take(self, key: str, url: str, mark: Mark | None) -> None:
        """Believe a sibling, who also brings it to the store."""
        self._to_write.pop((key, url), None)
        if mark is None and not self.store.shares_marks:
            self._drop(key, url)
        else:
            self._marks.setdefault(key, {})[url] = mark
            self._told.add((key, url))

    def forget_told(self) -> set[str]:
        """Forget what siblings told; returns of which frontends that was."""
        told, self._told = self._told, set()
        for key, url in told:
            self._drop(key, url)
        return {key for key, _ in told}

    def known(self) -> Iterator[tuple[str, str, Mark]]:
        """All marks, with the keys of their frontends and the URLs of their backends."""
        for key, marks in list(self._marks.items()):
            yield from ((key, url, mark) for url, mark in marks.items() if mark is not None)

    def _set(self, frontend: Frontend, backend: Backend, mark: Mark | None, *, share: bool) -> None:
        self._told.discard((frontend.key, backend.url))
        if share:
            self.tell(frontend.key, backend.url, mark)
        share = share and self.store.shares_marks
        if mark is not None or share:
            self._marks.setdefault(frontend.key, {})[backend.url] = mark
        else:
            self._drop(frontend.key, backend.url)
        if share:
            self._to_write[frontend.key, backend.url] = _Change(frontend, backend, mark)
            self._work.set()
            self._idle.clear()

    def _drop(self, key: str, url: str) -> None:
        self._told.discard((key, url))
        marks = self._marks.get(key)
        if marks is not None:
            marks.pop(url, None)
            if not marks:
                del self._marks[key]

    def _sweep(self) -> None:
        too_old = time.time() - HISTORY
        for key, marks in list(self._marks.items()):
            for url, mark in list(marks.items()):
                if mark is not None and mark.until < too_old:
                    self._drop(key, url)
        self._sweep_at = 1000 + 2 * len(self._marks)

    async def write_for_ever(self) -> None:
        """Bring changes to the store, the latest of each backend, until cancelled."""
        while True:
            await self._work.wait()
            failed = 0
            while self._to_write:
                name, change = next(iter(self._to_write.items()))
                try:
                    await self._write(change)
                except StoreUnavailable as exc:
                    logger.debug("mark not written key=%s cause=%s", name[0], exc)
                    if self._to_write.get(name) is change:  # a part of the store may be away
                        self._to_write[name] = self._to_write.pop(name)
                    failed += 1
                    if failed >= len(self._to_write):
                        await asyncio.sleep(RETRY_AFTER)
                        failed = 0
                    continue
                if self._to_write.get(name) is change:
                    del self._to_write[name]
                    self._drop(*name)
                    self._written(*name, change.mark)
            self._work.clear()
            self._idle.set()

    async def _write(self, change: _Change) -> None:
        frontend, backend, mark = change
        if mark is None:
            await self.store.erase_mark(frontend, backend)
        elif mark.until > time.time():
            ours = self._marks.get(frontend.key, _NONE).values()
            last = max([mark.until, *(other.until for other in ours if other)])
            await self.store.write_mark(frontend, backend, mark, shared_until=last)

    async def flush(self, seconds: float) -> None:
        """Wait until everything is written, `seconds` at most."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            logger.warning("marks lost count=%d store=%s", len(self._to_write), self.store.name)
