"""Routes from memory: never stale, bounded, and there when the store is not.

The store reports what changed, so a route leaves the fresh part of the memory when it is no longer
known to be true; it is kept to be served while the store is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ...errors import FrontendNotFound, ProxyError, StoreUnavailable
from ...routing import Backend, Frontend, Mark, Marks, Route
from ...system.background import Background
from ..base import Found, Store
from ..by_path import by_path
from .archive import Archive
from .cache_numbers import CountedCache
from .local_marks import LocalMarks
from .outage import Outage
from .reads import ReadPlan, ReadResult, Reads
from .route_cache import RouteCache
from .snapshot import Snapshot
from .told_marks import ToldMarks
from .unseen import seen

logger = logging.getLogger(__name__)

CLOSE_WITHIN = 2.0
"""Seconds that marks still to be written may hold up the end."""


class CachedStore:
    """The worker's routes: stores.routes.Routes over any Store, and that store's StoreListener."""

    def __init__(
        self,
        store: Store,
        *,
        size: int = 10_000,
        ttl: float = 1.0,
        snapshot: Snapshot | None = None,
        plan: ReadPlan = ReadPlan(),  # noqa: B008 - frozen
    ) -> None:
        """Keep `size` hosts (0: all), and as many that do not exist. `ttl` (seconds, 0: for ever)
        counts only where the store does not report changes. `plan`: how it is read."""
        self.store = store
        self.rates, self.checks, self.uses = store.rates, store.checks, store.uses
        self.questions, self.leases = store.questions, store.leases
        self.ready, self._ttl = False, ttl
        self._outage = Outage(store.name)
        self._local = LocalMarks(store, self._mark_written)
        self._memory = memory = RouteCache(size, self._local.of)
        self.share_marks = ToldMarks(self._local, self._memory.rebuild, self._outage).share
        self.known, self.in_memory, self.named = memory.known, memory.route, memory.named
        self.take_used = self._memory.uses.take
        self._archive = Archive(snapshot, self._memory) if snapshot else None
        self._background = Background(self.lost)
        spawn = self._spawn = self._background.spawn
        self._reads = Reads(store, self._memory, self._outage, self, spawn, plan=plan, ttl=ttl)
        self._first_word, self.changed = asyncio.Event(), self._reads.bell.wait
        self.numbers = CountedCache(self._memory, self._reads, self._outage)
        self.heard = self._outage.heard

    async def start(self) -> None:
        """Begin to watch. Waits for the store's first word, which need not be a good one."""
        self._spawn(self.store.watch(self), "store watch")
        self._spawn(self._local.write_for_ever(), "store marks")
        if self._archive is not None:
            self._spawn(self._archive.write_for_ever(), "store snapshot")
        await self._first_word.wait()

    async def aclose(self) -> None:
        """Write the marks that are still to be written, if the store is there, and stop."""
        if not self.away:
            await self._local.flush(CLOSE_WITHIN)
        await self._background.aclose()
        self._reads.close()
        if self._archive is not None:
            await self._archive.aclose()
        await self.store.aclose()

    # What the proxy asks (stores.routes.Routes; some are the memory's own).

    @property
    def away(self) -> bool:
        """The store did not answer when it was last asked."""
        return self._outage.away

    async def find(self, host: str, target: bytes = b"/") -> Route:
        """The route of a request, read if need be, or at once as it was known last while the
        store is away. Raises FrontendNotFound, StoreUnavailable."""
        route = await by_path(await self.find_host(host), target, self.find_host)
        self._memory.uses.asked_for(route.frontend.key)
        return route

    async def find_host(self, host: str) -> Route:
        """What leads on from this very name, a host or a prefix's key, whatever the path."""
        route = self._memory.named(host)
        if route is not None:
            return route
        if self._memory.is_absent(host):
            raise FrontendNotFound
        found: ReadResult | None = None
        if self.away:
            probe, route = self._outage.time_to_probe(), self._memory.last_known(host)
            if probe:
                self._reads.route(host, probe=True)
            if route is not None:
                return route
            found = None if probe else StoreUnavailable()
        if found is None:
            found = await asyncio.shield(self._reads.route(host))
        if isinstance(found, StoreUnavailable) and self._archive is not None:
            await self._archive.restore()  # a store that fails may not count as away yet
            if (route := self._memory.last_known(host)) is not None:
                return route
        if isinstance(found, ProxyError):
            raise type(found)(str(found))
        return found

    async def lookup(self, host: str) -> Found | None:
        """The frontend of `host` as the store has it now. Raises StoreUnavailable."""
        return await self.store.lookup(host)

    def mark_dead(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, share: bool = True
    ) -> None:
        """Mark in this worker at once; with `share` in the store, in the background."""
        self._local.mark(frontend, backend, mark, share=share)
        self._memory.rebuild(frontend.key)

    def clear_mark(self, frontend: Frontend, backend: Backend) -> None:
        """Forget a mark and its history, here at once and in the store in the background."""
        self._local.clear(frontend, backend)
        self._memory.set_mark(frontend.key, backend.url, None)

    def marks_of(self, frontend: Frontend) -> Marks:
        """The marks of this frontend as this worker knows them now, whatever a Route says."""
        return self._memory.marks(frontend.key)

    async def read_marks(self, frontend: Frontend) -> Marks:
        """The marks of this frontend as the store and this worker have them now.

        Raises StoreUnavailable.
        """
        marks = dict(await self.store.marks(frontend))
        for url, ours in self._local.of(frontend.key).items():
            marks.pop(url, None)
            if ours is not None:
                marks[url] = ours
        return marks

    def announce(self, frontend: Frontend, backend: Backend) -> None:
        """Tell other programs, in the background, that a backend failed, without marking it."""
        self._spawn(self._announce(frontend, backend), f"store announcement {frontend.key}")

    async def _announce(self, frontend: Frontend, backend: Backend) -> None:
        try:
            await self.store.announce(frontend, backend)
        except StoreUnavailable as exc:
            self.failed(str(exc))

    # What the reads report (reads.ReadListener).

    def reached(self) -> None:
        """The store answered."""
        self.ready = True
        self._outage.end()
        self._first_word.set()

    def failed(self, reason: str) -> None:
        """The store did not answer once."""
        # The tracking connection decides while it lives: one slow answer is no outage.
        note = self._outage.note if self._reads.tracked else self.unreachable
        note(reason)

    # What the store reports (base.StoreListener; `heard` is the outage's own).

    def tracking(self) -> None:
        """Every change is reported from now on."""
        self.everything_changed()
        self._reads.track(seen)
        self.reached()

    def partly_tracking(self, unseen: Callable[[str], bool]) -> None:
        """What rests on `unseen` keys is read each time, or else served as it was."""
        self._reads.track(unseen)
        self.reached()

    def lost(self, reason: str) -> None:
        """Nothing counts as fresh until tracking is back."""
        if reason and self._reads.tracked and not self.away:
            logger.info("store tracking lost store=%s cause=%s", self.store.name, reason)
        self._reads.tracked = False
        self.everything_changed()
        if not self.away:
            self._first_word.set()

    def unreachable(self, reason: str) -> None:
        """Serve what is known, ask again now and then."""
        news = self._outage.begin(reason, len(self._memory))
        if news and self._archive is not None:
            self._spawn(self._restore(self._archive), "store restore")
        else:
            self._first_word.set()

    async def _restore(self, archive: Archive) -> None:
        self.ready = await archive.restore(afresh=True) or self.ready
        self._first_word.set()

    def refused(self, reason: str) -> None:
        """Fall back to a cache that forgets by time."""
        if not self._reads.polled:  # each worker that has tried tells the others
            text = "store does not tell changes store=%s cause=%s: a change is seen after %g s"
            logger.warning(text, self.store.name, reason, self._ttl)
        self._reads.polled = True
        self.reached()

    def frontend_changed(self, key: str) -> None:
        """A list or its options changed."""
        self.numbers.pushes += 1
        self._memory.invalidate_frontend(key)
        self._reads.disown(key)

    def paths_changed(self, key: str) -> None:
        """The prefixes of a host were written."""
        self.numbers.pushes += 1
        self._memory.invalidate_site(key)
        self._reads.disown(key, prefixes=False)

    def marks_changed(self, key: str) -> None:
        """Marks under a frontend's key are read again once for all its hosts."""
        self.numbers.pushes += 1
        self._reads.disown(key)
        if self._memory.frontend(key) is None:
            self._memory.invalidate(key)
        else:
            self._reads.marks(key)

    def everything_changed(self) -> None:
        """The store was emptied, or what was read before may be old."""
        self._memory.invalidate_all()
        self._reads.disown_all()

    def _mark_written(self, key: str, url: str, mark: Mark | None) -> None:
        self._memory.set_mark(key, url, mark)
        self.marks_changed(key)
