"""The routes as the rest of the proxy sees them, whatever store they come from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set
from typing import Protocol

from ..errors import FrontendNotFound
from ..routing import Backend, Frontend, Mark, Marks, Route
from ..system.worker_team import WorkerTeam
from .base import CheckRecords, Found, Leases, SharedRates
from .questions import Questions
from .uses import UseRecords

LOOK_EVERY = 0.1
"""Seconds between two looks at routes that do not tell of their changes."""


class CacheNumbers(Protocol):
    """What a cache counts, for the metrics."""

    @property
    def hits(self) -> int:
        """Hosts whose route was in memory."""

    @property
    def misses(self) -> int:
        """Hosts that the store was asked for."""

    @property
    def pushes(self) -> int:
        """Changes that the store reported."""

    def contact_age(self) -> float:
        """Seconds since the store's last sign of life."""


class Routes(Protocol):
    """Implemented by `stores.cache.routes.CachedStore`.

    Other routes, for `create_app(store=...)`, inherit from this class. From `in_memory` on the
    methods have defaults, which suit routes without a store.
    """

    ready: bool
    """A store was reached, or a snapshot loaded, at least once."""

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        """The route from memory if it is known to be true now; None: ask `find`.

        `host` is normalised (routing.normalise_host), or a frontend's key; `target` is what the
        request asks for. Never waits.
        """

    async def find(self, host: str, target: bytes = b"/") -> Route:
        """The route of a request. Raises FrontendNotFound or StoreUnavailable."""

    async def find_host(self, host: str) -> Route:
        """What leads on from a host, also where it has prefixes and no list of its own.

        Raises FrontendNotFound or StoreUnavailable.
        """
        return await self.find(host)

    def mark_dead(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, share: bool = True
    ) -> None:
        """Mark in this worker at once; with `share` write and publish it in the background."""

    def share_marks(self, team: WorkerTeam | None) -> None:
        """Let marks count for all of the team, even while no store tells them; None: for no one
        else. Called once, by the worker."""
        return

    def clear_mark(self, frontend: Frontend, backend: Backend) -> None:
        """Forget the mark and its history, here at once and in the store in the background."""

    def marks_of(self, frontend: Frontend) -> Marks:
        """The marks of this frontend as this worker knows them now, whatever a Route says."""

    def announce(self, frontend: Frontend, backend: Backend) -> None:
        """Tell other programs, in the background, that a backend failed, without marking it."""

    async def start(self) -> None:
        """Begin to watch the store. A store that is away is no error."""

    async def aclose(self) -> None:
        """Stop, write what is still to be written, and release everything."""

    # For the admin listener.

    def in_memory(self, key: str) -> Route | None:
        """The route that the hosts of this frontend share, if it is in memory. It may be old."""
        return self.known(key)

    def named(self, name: str) -> Route | None:
        """What this very name leads to, if that is known to be true now; if not, `find_host`."""
        return self.known(name)

    @property
    def numbers(self) -> CacheNumbers | None:
        """None where there is no cache."""
        return None

    # For what the proxies of one store share.

    @property
    def rates(self) -> SharedRates | None:
        """How often clients have come; None where every worker counts for itself."""
        return None

    @property
    def leases(self) -> Leases | None:
        """What one of them does for all; None where every worker is for itself."""
        return None

    @property
    def questions(self) -> Questions | None:
        """What operators ask all workers; None where each machine is asked by itself."""
        return None

    # For when frontends were last used.

    @property
    def uses(self) -> UseRecords | None:
        """Where it is noted; None where nobody does."""
        return None

    def take_used(self, busy: Set[str]) -> Iterable[str]:
        """Keys of frontends that were asked for since the last call, and of those that have a
        backend whose URL is in `busy`."""
        return ()

    async def changed(self) -> None:
        """Wait until a route may have changed, which one ever."""
        await asyncio.sleep(LOOK_EVERY)

    # For active checks.

    @property
    def checks(self) -> CheckRecords | None:
        """None where nothing is checked actively."""
        return None

    @property
    def away(self) -> bool:
        """The store did not answer when it was last asked."""
        return False

    async def lookup(self, host: str) -> Found | None:
        """The frontend of `host` as the store has it now. Raises StoreUnavailable."""
        try:
            route = await self.find(host)
        except FrontendNotFound:
            return None
        return Found(route.frontend, route.marks)

    async def read_marks(self, frontend: Frontend) -> Marks:
        """The marks of this frontend as the store and this worker have them now.

        Raises StoreUnavailable.
        """
        return self.marks_of(frontend)
