"""What the pages look things up in: counts, routes, the store, the recorder. One a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...errors import HipacheError
from ...frontends.maintenance import is_off
from ...metrics.families import GAUGE
from ...recorder.asking import StoryQuestion, ask_others
from ...recorder.rings import stories
from ...recorder.stories import Kind, Story
from ...stores.key_pattern import KeyPattern
from ...stores.table import Entry
from ...stores.table_pieces import FirstKeys, first_keys
from ...stores.tables import RouteTable
from ...stores.uses import LastUses
from ...system.turns import in_turns
from ...tls.listener import expiries
from .. import state
from ..admin_client import store_names
from ..route_api import opened_table
from ..state import Sources
from ..stored_certificates import StoredCertificates
from .pace import FRESH, Lookback, Pacer

USES_FOR = 15.0
"""Seconds for which the last uses are good: workers note them each 30 s."""


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """One certificate, and when it ends."""

    name: str
    end: datetime | None
    problem: str = ""

    def days(self, now: float) -> float | None:
        """Until it ends."""
        return None if self.end is None else (self.end.timestamp() - now) / 86_400


class Desk:
    """Looks things up for the pages."""

    def __init__(self, sources: Sources, stored: StoredCertificates) -> None:
        self.sources = sources
        self.config = sources.config
        self.pacer = Pacer(sources)
        self._stored = stored
        self._looking = asyncio.Lock()
        self._uses = LastUses()
        self._uses_until = 0.0
        self._failures: list[Story] = []
        self._failures_until = 0.0

    @property
    def may_write(self) -> bool:
        """Whether forms change anything."""
        return self.config.admin.write

    def store(self) -> str:
        """Its name, without secrets."""
        return ", ".join(store_names(self.config))

    def store_trouble(self) -> str:
        """What is wrong with the store; empty if it answers."""
        if not self.sources.routes.ready:
            return "no store has been reached yet"
        away = self.sources.routes.away
        return "the store does not answer; known routes are served" if away else ""

    async def first_keys(self, part: str, most: int, order: Callable[[str], Any]) -> FirstKeys:
        """The first keys of the store's frontends that contain `part`, and how many do.

        It goes over the whole store, so one at a time. Raises StoreUnavailable, TableError,
        NotOffered.
        """
        async with self._looking, self.table() as table:
            return await first_keys(table, KeyPattern.containing(part), most, order)

    async def uses(self) -> LastUses:
        """When frontends were last used, as far as the store tells."""
        if time.monotonic() >= self._uses_until:
            with suppress(HipacheError):
                async with self.table() as table:
                    self._uses = await table.last_uses()
            self._uses_until = time.monotonic() + USES_FOR
        return self._uses

    async def entries(self, keys: list[str]) -> Mapping[str, Entry]:
        """These frontends as the store has them; none if it does not say."""
        if not keys:
            return {}
        try:
            async with self.table() as table:
                return await table.read(keys)
        except HipacheError:
            return {}

    @asynccontextmanager
    async def table(self) -> AsyncIterator[RouteTable]:
        """The store's table, open."""
        async with opened_table(self.config) as table:
            yield table

    async def states(self, key: str) -> dict[str, state.Json]:
        """The backends of a frontend by URL, with their states and marks."""
        await state.learn(self.sources, [key])
        route = self.sources.routes.in_memory(key)
        return {} if route is None else state.states_of(route, self.config)

    async def down(self, window: Lookback) -> AsyncIterator[tuple[str, str, state.Json]]:
        """Backends that are not in order, of the frontends that had requests."""
        async for key in in_turns(window.names()):
            route = self.sources.routes.in_memory(key)
            if route is not None and (route.marks or route.frontend.bad_entries):
                for url, each in state.states_of(route, self.config).items():
                    if each["state"] in state.DOWN:
                        yield key, url, each

    def closed(self, key: str) -> str:
        """Why a site that had requests lets nobody in; empty if it does."""
        route = self.sources.routes.in_memory(key)
        return "" if route is None else closed(route.frontend.options)

    async def failures(self, *, refused: bool = False) -> list[Story]:
        """The requests that failed, the newest first; with `refused` also what we refused."""
        now = time.monotonic()
        if now >= self._failures_until:
            self._failures = (await self._stories((Kind.FAILED, Kind.REFUSED)))[::-1]
            self._failures_until = now + FRESH
        return [each for each in self._failures if refused or each.kind == Kind.FAILED]

    async def story(self, request_id: str) -> list[Story]:
        """What is known of one request, here or by the proxies that share the store."""
        kept = await self._stories(tuple(Kind), request_id)
        if found := [each for each in kept if each.id == request_id]:
            return found
        with suppress(HipacheError):
            if (answer := await ask_others(self.config, StoryQuestion(request_id))) is not None:
                return answer.stories
        return []

    async def _stories(self, kinds: tuple[Kind, ...], holding: str = "") -> list[Story]:
        folder = self.sources.folder
        if folder is None:
            return []
        return await asyncio.to_thread(stories, [folder.path], kinds, holding=holding)

    async def certificates(self) -> list[CertificateEnd]:
        """Those of the configuration's files and of the store, the first to end first."""
        binds = self.config.https.binds
        found = await asyncio.to_thread(lambda: [*expiries(binds), *self._stored.soonest()])
        ends = [
            CertificateEnd(name, end) if isinstance(end, datetime)
            else CertificateEnd(name, None, str(end))
            for name, end in found
        ]  # fmt: skip
        last = datetime.max.replace(tzinfo=UTC)
        return sorted(ends, key=lambda each: (not each.problem, each.end or last))

    def orders(self) -> list[tuple[str, float]]:
        """Names whose last order of a certificate failed, and when the next may be made."""
        return list(self._stored.failing())


def closed(options: Mapping[str, str]) -> str:
    """Why a site with these options lets nobody in; empty if it does."""
    shut = options.get("maintenance")
    if shut is not None and not is_off(shut):
        return "maintenance"
    return "paused" if options.get("pause", "0") != "0" else ""


def in_flight(window: Lookback, url: str) -> int:
    """Requests at a backend that have not ended, over all workers."""
    cells = window.after.blocks.get(f"{GAUGE}\0backend_in_flight\0{url}")
    return int(cells[0]) if cells else 0


def gauge(window: Lookback, name: str) -> int:
    """A state of the whole proxy, by its name in `metrics.families`."""
    cells = window.after.blocks.get(f"{GAUGE}\0{name}")
    return int(cells[0]) if cells else 0
