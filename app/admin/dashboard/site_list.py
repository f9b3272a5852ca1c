"""The page of all frontends: which of them are on it, in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from math import inf
from typing import Any

from ...stores.table import Entry, by_domain, existing
from ...stores.uses import LastUses
from ...system.turns import in_turns
from .. import state
from .desk import Desk, closed, in_flight
from .pace import Lookback, Pace
from .views import ROWS, Context, SiteRow, View

PAGES = 100
"""Pages of all frontends, at most: who looks for one of more types a part of its name."""
SORTS = {
    "name": "name", "rate": "requests/s", "errors": "errors/s", "p99": "p99", "total": "requests",
    "used": "last used", "idle": "longest idle",
}  # fmt: skip


class Frontends(View):
    """A page of all frontends."""

    template = "frontends.html"

    def __init__(self, wanted: str, sort: str, page: int) -> None:
        self.wanted = wanted.strip().lower()
        self.sort = sort if sort in SORTS else "name"
        self.page = min(max(1, page), PAGES)
        self._rows: list[str] | None = None
        self._count = 0

    async def context(self, desk: Desk, window: Lookback) -> Context:
        if self._rows is None:
            self._rows = await self._chosen(desk, window)
        await state.learn(desk.sources, self._rows)
        unknown = [key for key in self._rows if desk.sources.routes.in_memory(key) is None]
        entries = await desk.entries(unknown)
        return {
            "rows": [
                _site(desk, window, key, existing(entries, key))
                async for key in in_turns(self._rows)
            ],
            "count": self._count, "most": PAGES * ROWS,
            "page": self.page, "pages": min(max(1, -(-self._count // ROWS)), PAGES),
            "sort": self.sort, "sorts": SORTS, "wanted": self.wanted,
            "uses": (await desk.uses()).by_key, "now": time.time(),
        }  # fmt: skip

    async def _chosen(self, desk: Desk, window: Lookback) -> list[str]:
        """Raises StoreUnavailable, TableError, NotOffered."""
        first = (self.page - 1) * ROWS
        order = self._order(window)
        if self.sort in {"used", "idle"}:
            order = self._by_use(await desk.uses(), set(window.moving()))
        keys, self._count = await desk.first_keys(self.wanted, first + ROWS, order)
        return keys[first:]

    def _order(self, window: Lookback) -> Callable[[str], Any]:
        if self.sort == "name":
            return by_domain
        if self.sort == "total":
            return lambda key: (-window.total(key), by_domain(key))
        paces = {key: window.frontend(key) for key in window.moving()}
        nothing = Pace()

        def weight(key: str) -> tuple[float, Any]:
            pace = paces.get(key, nothing)
            by = {"rate": pace.per_second, "errors": pace.errors_per_second}
            return -by.get(self.sort, pace.p99 or 0.0), by_domain(key)

        return weight

    def _by_use(self, uses: LastUses, in_use: Collection[str]) -> Callable[[str], Any]:
        sign = -1 if self.sort == "used" else 1

        def weight(key: str) -> tuple[float, Any]:
            at = inf if key in in_use else uses.by_key.get(key, 0.0)
            return sign * at, by_domain(key)

        return weight


def _site(desk: Desk, window: Lookback, key: str, entry: Entry | None) -> SiteRow:
    route = desk.sources.routes.in_memory(key)
    states = {} if route is None else state.backend_states(route, desk.config)
    urls = list(states) or list(entry.backends if entry else ())
    options = route.frontend.options if route is not None else entry.options if entry else {}
    return SiteRow(
        key, window.frontend(key), len(urls),
        sum(each in state.DOWN for each in states.values()),
        sum(in_flight(window, url) for url in urls),
        closed(options),
    )  # fmt: skip
