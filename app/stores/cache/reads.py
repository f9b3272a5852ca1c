"""Reads the store: each host once at a time, and keeps nothing that changed meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import FrontendNotFound, ProxyError, StoreUnavailable
from ...frontends.backends import oddity
from ...frontends.site import host_of
from ...masking import masked_url
from ...routing import Frontend, Route, lookup_keys
from ..base import Found, Store, StoreInTrouble
from .change_bell import ChangeBell
from .outage import Outage
from .route_cache import RouteCache
from .sibling_reads import SiblingReads
from .unseen import forget_unseen, rests_on, seen

logger = logging.getLogger(__name__)

MAX_TOLD = 5
"""Lines about rows of one kind at each change of a list: some thousands would stop the worker."""

ReadResult = Route | ProxyError
"""What a read of a host came to."""
Spawn = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]


class ReadListener(Protocol):
    """Hears how the store answers."""

    def reached(self) -> None:
        """It answered."""

    def failed(self, reason: str) -> None:
        """It did not, this once."""

    def unreachable(self, reason: str) -> None:
        """It says that it does not answer reads now."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How a worker reads the store."""

    most: int = 8
    """Reads at once; others wait, those first that were asked for first."""
    siblings: SiblingReads | None = None
    """What it shares with the other workers of its proxy; None: nothing."""


class Reads:
    """The reads of one worker that are under way, and whether their answers may be believed."""

    def __init__(
        self,
        store: Store,
        memory: RouteCache,
        outage: Outage,
        listener: ReadListener,
        spawn: Spawn,
        *,
        plan: ReadPlan,
        ttl: float,
    ) -> None:
        """`ttl` (seconds, 0: for ever): how long an answer is believed in a `polled` store."""
        self._store, self._memory, self._outage = store, memory, outage
        self._listener, self._spawn, self._ttl = listener, spawn, ttl
        self.tracked = False
        """The store reports every change now."""
        self.unseen: Callable[[str], bool] = seen
        """Of which keys it does not, although it is `tracked`."""
        self.polled = False
        """The store never reports changes."""
        self.count = 0
        """Hosts that the store was asked for."""
        self.bell = ChangeBell()
        self._reads: dict[str, asyncio.Task[ReadResult]] = {}
        self._mark_reads: dict[str, bool] = {}  # by key: must it be read once more?
        self._slots = asyncio.Semaphore(plan.most)
        self._siblings = plan.siblings

    def track(self, unseen: Callable[[str], bool]) -> None:
        """Changes are reported now, but for `unseen` keys. What is being read may be old."""
        forget_unseen(self._memory, unseen)
        self.tracked, self.polled, self.unseen = True, False, unseen
        self.disown_all()

    def route(self, host: str, *, probe: bool = False) -> asyncio.Task[ReadResult]:
        """The one read of `host` that all who ask now share.

        With `probe` it is tried although the store is away.
        """
        self.count += 1
        task = self._reads.get(host)
        if task is None:
            task = self._reads[host] = self._spawn(self._read(host, probe), f"store read {host}")
        return task

    async def _read(self, host: str, probe: bool) -> ReadResult:
        task = asyncio.current_task()
        try:
            async with self._slots:
                if self._outage.away and not probe:  # found out while this one waited
                    raise StoreUnavailable
                found = await self._found(host)
        except StoreUnavailable as exc:
            self._failed(exc)
            return self._memory.last_known(host) or exc
        finally:
            # A change that was reported meanwhile took this read off the list: its answer may
            # be older than the change. It serves those who asked before, and nobody else.
            current = self._reads.get(host) is task
            if current:
                del self._reads[host]
        self._listener.reached()
        if current:
            return self._remember(host, found, fresh=self.polled or self._is_told(host, found))
        if host in self._reads or host in self._memory or self._is_remembered(found):
            return FrontendNotFound() if found is None else Route(found.frontend, found.marks)
        return self._remember(host, found, fresh=False)

    def _is_remembered(self, found: Found | None) -> bool:
        """Whether another host has brought this frontend in: perhaps newer than it is here."""
        return found is not None and self._memory.frontend(found.frontend.key) is not None

    async def _found(self, host: str) -> Found | None:
        """What the store says, or what a sibling has just read of it."""
        siblings = self._siblings
        if siblings is None or not self.tracked:
            return await self._store.lookup(host)
        answer = await siblings.answer(host)
        if answer is not None and self.tracked:
            return answer[0]
        with siblings.reading(host) as publish:
            found = await self._store.lookup(host)
            publish(found)
        return found

    def _is_told(self, host: str, found: Found | None) -> bool:
        """Whether every change of this answer is reported."""
        if self.unseen is seen:
            return self.tracked
        matched = found.frontend.key if found else None
        return self.tracked and not rests_on(host, matched, self.unseen)

    def _remember(self, host: str, found: Found | None, *, fresh: bool) -> ReadResult:
        if fresh and self.polled and self._ttl:
            later = asyncio.get_running_loop().call_later
            later(self._ttl, self._memory.invalidate, host)
        if found is not None:
            known = self._memory.frontend(found.frontend.key)
            route = self._memory.keep(host, found, fresh=fresh)
            if route.frontend is not known:
                _warn_of_entries(route.frontend)
            return route
        self._memory.forget(host)
        if fresh:
            self._memory.keep_absent(host)
        return FrontendNotFound()

    def marks(self, key: str) -> None:
        """Read the marks of this frontend once for all its hosts, in the background."""
        if key in self._mark_reads:
            self._mark_reads[key] = True
        elif self._outage.away:
            self._memory.invalidate_frontend(key)
        else:
            self._mark_reads[key] = False
            self._spawn(self._read_marks(key), f"store marks {key}")

    async def _read_marks(self, key: str) -> None:
        while (frontend := self._memory.frontend(key)) is not None:
            self._mark_reads[key] = False
            try:
                async with self._slots:
                    marks = await self._store.marks(frontend)
            except StoreUnavailable as exc:
                self._failed(exc)
                self._memory.invalidate_frontend(key)
                break
            if not self._mark_reads[key]:
                self._memory.set_marks(key, marks)
                self.bell.ring()
                break
        del self._mark_reads[key]

    def _failed(self, error: StoreUnavailable) -> None:
        if isinstance(error, StoreInTrouble):
            self._listener.unreachable(str(error))
        else:
            self._listener.failed(str(error))

    def disown(self, key: str, *, prefixes: bool = True) -> None:
        """What is being read about this key changes: the answers are not remembered; nor are
        those about its prefixes, which inherit its options, if `prefixes` says so."""
        if self._siblings is not None:
            self._siblings.changed(key)
        for name in list(self._reads):
            if key in lookup_keys(name) or (prefixes and key == host_of(name)):
                del self._reads[name]
        if key in self._mark_reads:
            self._mark_reads[key] = True
        self.bell.ring()

    def disown_all(self) -> None:
        """What is being read may be old when it comes."""
        if self._siblings is not None:
            self._siblings.all_changed()
        self._reads.clear()
        self._mark_reads.update(dict.fromkeys(self._mark_reads, True))
        self.bell.ring()

    def close(self) -> None:
        """Share no more reads with siblings."""
        if self._siblings is not None:
            self._siblings.close()


def _warn_of_entries(frontend: Frontend) -> None:
    bad = frontend.bad_entries
    for entry in dict.fromkeys((*bad[:MAX_TOLD], *bad[-1:])):  # the last may be TOO_MANY
        logger.warning("backend unusable frontend=%s cause=%s", frontend.key, entry.reason)
    _tell_of_rest("unusable", frontend, len(bad) - 1)
    odd = [(backend, why) for backend in frontend.backends if (why := oddity(backend))]
    for backend, why in odd[:MAX_TOLD]:
        logger.warning(
            "backend odd frontend=%s backend=%s cause=%s",
            frontend.key, masked_url(backend.url), why,
        )  # fmt: skip
    _tell_of_rest("odd", frontend, len(odd))


def _tell_of_rest(kind: str, frontend: Frontend, count: int) -> None:
    if count > MAX_TOLD:
        logger.warning(
            "and more like them kind=%s frontend=%s count=%d: 'hipache doctor' names each",
            kind, frontend.key, count - MAX_TOLD,
        )  # fmt: skip
