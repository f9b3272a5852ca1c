"""Routes from memory: never stale, bounded, and there when the store is not.

The store tells what changed, so a route leaves the fresh part of the memory when it is no longer
known to be true; it is kept to be served if the store can not be asked.
"""

from __future__ import annotations

import asyncio
import logging

from ...errors import FrontendNotFound, ProxyError, StoreUnavailable
from ...routing import Backend, Frontend, Mark, Marks, Route, lookup_keys
from ..base import Found, Store
from .archive import Archive
from .background import Background
from .local_marks import LocalMarks
from .memory import Memory, complain
from .outage import Outage
from .snapshot import Snapshot

logger = logging.getLogger(__name__)

CONCURRENT_READS = 16
CLOSE_WITHIN = 2.0
"""Seconds that marks still to be written may hold up the end."""

Outcome = Route | ProxyError


class CachedStore:
    """The worker's routes: base.Routes over any base.Store, and that store's base.Listener."""

    def __init__(
        self,
        store: Store,
        *,
        size: int = 10_000,
        ttl: float = 1.0,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Keep `size` hosts (0: all), and as many that do not exist. `ttl` (seconds, 0: for ever)
        counts only where the store does not tell changes."""
        self.store = store
        self.ready = False
        self._outage = Outage(store.name)
        self._ttl = ttl
        self._told = False
        self._never_told = False
        self._local = LocalMarks(store, self._mark_written)
        self._memory = Memory(size, self._local.of)
        self.known, self.served = self._memory.known, self._memory.route
        self._reads: dict[str, asyncio.Task[Outcome]] = {}
        self._mark_reads: dict[str, bool] = {}  # by key: must it be read once more?
        self._slots = asyncio.Semaphore(CONCURRENT_READS)
        self._archive = Archive(snapshot, self._memory) if snapshot else None
        self._background = Background(self.lost)
        self._spawn = self._background.spawn
        self._heard = asyncio.Event()
        self.misses = self.pushes = 0  # hosts that the store was asked for, changes that it told
        self.heard, self.contact_age = self._outage.heard, self._outage.contact_age

    async def start(self) -> None:
        """Begin to watch. Waits for the store's first word, which need not be a good one."""
        self._spawn(self.store.watch(self), "store watch")
        self._spawn(self._local.write_for_ever(), "store marks")
        if self._archive is not None:
            self._spawn(self._archive.write_for_ever(), "store snapshot")
        await self._heard.wait()

    async def aclose(self) -> None:
        """Write the marks that are still to be written, if the store is there, and stop."""
        if not self.away:
            await self._local.flush(CLOSE_WITHIN)
        await self._background.aclose()
        if self._archive is not None:
            await self._archive.aclose()
        await self.store.aclose()

    @property
    def hits(self) -> int:
        """Hosts whose route was in memory."""
        return self._memory.hits

    @property
    def away(self) -> bool:
        """The store did not answer when it was last asked."""
        return self._outage.away

    # What the proxy asks (base.Routes; `known` is the memory's own method).

    async def find(self, host: str) -> Route:
        """The route of `host`, read if need be. Raises FrontendNotFound, StoreUnavailable.

        While the store is away, what was known last is served at once.
        """
        route = self.known(host)
        if route is not None:
            return route
        if self._memory.is_absent(host):
            raise FrontendNotFound
        if self.away:
            probe, route = self._outage.time_to_probe(), self._memory.last_known(host)
            if probe:
                self._read_once(host, probe=True)
            if route is not None:
                return route
            if not probe:
                raise StoreUnavailable
        outcome = await asyncio.shield(self._read_once(host))
        if isinstance(outcome, ProxyError):
            raise type(outcome)(str(outcome))
        return outcome

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
            self._failed(str(exc))

    # Reading.

    def _read_once(self, host: str, *, probe: bool = False) -> asyncio.Task[Outcome]:
        """The one read of `host` that all who ask now share."""
        self.misses += 1
        task = self._reads.get(host)
        if task is None:
            task = self._reads[host] = self._spawn(self._read(host, probe), f"store read {host}")
        return task

    async def _read(self, host: str, probe: bool) -> Outcome:
        task = asyncio.current_task()
        try:
            async with self._slots:
                if self.away and not probe:  # found out while this one waited
                    raise StoreUnavailable
                found = await self.store.lookup(host)
        except StoreUnavailable as exc:
            self._failed(str(exc))
            return self._memory.last_known(host) or exc
        finally:
            # Who was told of a change in the meantime took this read off the list: its answer may
            # be older than the change. It serves those who asked before, and nobody else.
            current = self._reads.get(host) is task
            if current:
                del self._reads[host]
        self._reached()
        if current:
            return self._remember(host, found, fresh=self._told or self._never_told)
        if host in self._reads or host in self._memory:
            return FrontendNotFound() if found is None else Route(found.frontend, found.marks)
        return self._remember(host, found, fresh=False)

    def _remember(self, host: str, found: Found | None, *, fresh: bool) -> Outcome:
        if fresh and self._never_told and self._ttl:
            later = asyncio.get_running_loop().call_later
            later(self._ttl, self._memory.suspect, host)
        if found is not None:
            known = self._memory.frontend(found.frontend.key)
            route = self._memory.keep(host, found, fresh=fresh)
            if route.frontend is not known:
                complain(route.frontend)
            return route
        self._memory.forget(host)
        if fresh:
            self._memory.keep_absent(host)
        return FrontendNotFound()

    async def _read_marks(self, key: str) -> None:
        while (frontend := self._memory.frontend(key)) is not None:
            self._mark_reads[key] = False
            try:
                async with self._slots:
                    marks = await self.store.marks(frontend)
            except StoreUnavailable as exc:
                self._failed(str(exc))
                self._memory.suspect_frontend(key)
                break
            if not self._mark_reads[key]:
                self._memory.set_marks(key, marks)
                break
        del self._mark_reads[key]

    def _failed(self, reason: str) -> None:
        # While the tracking connection lives, it decides: it asks for a sign of life each second,
        # and one slow answer, or a stop of our own loop, is no outage.
        if self._told:
            self._outage.note(reason)
        else:
            self.unreachable(reason)

    # What the store tells (base.Listener).

    def tracking(self) -> None:
        """Every change is told from now on."""
        self._suspect_everything()
        self._told = True
        self._reached()

    def lost(self, reason: str) -> None:
        """Nothing counts as fresh until tracking is back."""
        if self._told:
            logger.info("store tracking lost store=%s cause=%s", self.store.name, reason)
        self._told = False
        self._suspect_everything()
        if not self.away:
            self._heard.set()

    def unreachable(self, reason: str) -> None:
        """Serve what is known, ask again now and then."""
        news = self._outage.begin(reason, len(self._memory))
        if news and self._archive is not None:
            self._spawn(self._restore(self._archive), "store restore")
        else:
            self._heard.set()

    async def _restore(self, archive: Archive) -> None:
        self.ready = await archive.restore() or self.ready
        self._heard.set()

    def refused(self, reason: str) -> None:
        """Fall back to a cache that forgets by time."""
        logger.warning(
            "store does not tell changes store=%s cause=%s: a change is seen after %g s",
            self.store.name, reason, self._ttl,
        )  # fmt: skip
        self._never_told = True
        self._reached()

    def frontend_changed(self, key: str) -> None:
        """A list or its options changed."""
        self.pushes += 1
        self._memory.suspect_frontend(key)
        self._disown_reads(key)

    def marks_changed(self, key: str) -> None:
        """Marks under a frontend's key are read again once for all its hosts."""
        self.pushes += 1
        self._disown_reads(key)
        if self._memory.frontend(key) is None:
            self._memory.suspect(key)
        elif key in self._mark_reads:
            self._mark_reads[key] = True
        elif not self.away:
            self._mark_reads[key] = False
            self._spawn(self._read_marks(key), f"store marks {key}")

    def everything_changed(self) -> None:
        """The store was emptied."""
        self._suspect_everything()

    def _suspect_everything(self) -> None:
        self._memory.suspect_all()
        self._reads.clear()

    def _disown_reads(self, key: str) -> None:
        for host in [host for host in self._reads if key in lookup_keys(host)]:
            del self._reads[host]

    def _mark_written(self, key: str, url: str, mark: Mark | None) -> None:
        self._memory.set_mark(key, url, mark)
        self.marks_changed(key)

    def _reached(self) -> None:
        self.ready = True
        self._outage.end()
        self._heard.set()
