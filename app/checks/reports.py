"""Turns the results of active checks into marks. Reads the list again before every write."""

from __future__ import annotations

import logging
import time

from ..health import can_lose_one
from ..metrics.counters import Counters
from ..proxy.health_reports import Checkers
from ..routing import Backend, Frontend, Mark
from ..stores.base import FOREIGN
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes
from .verdicts import Target

logger = logging.getLogger(__name__)

CHECK = "check: "
"""How the reason of our marks begins."""


class CheckReports:
    """Marks unhealthy backends dead, and clears the marks of healthy ones."""

    def __init__(
        self,
        routes: Routes,
        checkers: Checkers,
        *,
        name: str,
        ttl: float,
        counters: Counters | None = None,
        news: MarkNews = MarkNews(),  # noqa: B008 - immutable
    ) -> None:
        """`ttl`: seconds that a mark stands; checks that go on failing renew it at half time."""
        self._counters = counters
        self._news = news
        self._routes = routes
        self._checkers = checkers
        self._name = name
        self._ttl = ttl

    async def unhealthy(self, target: Target, problem: str) -> None:
        """Mark it, unless its mark still stands for long enough. Raises StoreUnavailable.

        One that has not failed often enough keeps the mark that an earlier checker gave it.
        """
        frontend, backend, known = await self._as_it_is(target)
        now = time.time()
        if backend is None or not can_lose_one(frontend):
            return
        if not target.unhealthy and not (
            known and known.until > now and known.reason.startswith(CHECK)
        ):
            return
        if known is not None and known.until - now > self._ttl / 2:
            return
        mark = Mark(
            until=now + self._ttl,
            since=known.since if known else now,
            reason=f"{CHECK}{problem}",
            by=self._name,
            failures=known.failures if known else 1,
        )
        self._routes.mark_dead(frontend, backend, mark)
        if known is None or known.until <= now:
            self._news.dead(frontend, backend, mark.reason, known is None)
            if self._counters is not None:
                self._counters.count("marks", "check")
            logger.warning(
                "backend dead frontend=%s backend=%s cause=%s ttl=%gs",
                frontend.key, backend.url, mark.reason, self._ttl,
            )  # fmt: skip

    async def healthy(self, target: Target) -> None:
        """Clear its mark if it has been healthy for long enough since. Raises StoreUnavailable."""
        frontend, backend, known = await self._as_it_is(target)
        if backend is None or known is None:
            return
        foreign = known.by == FOREIGN
        if foreign and self._checkers.foreign:
            return
        # An old Hipache writes a bare index: it does not say since when the mark stands.
        if target.healthy_since(0.0 if foreign else known.since):
            self._routes.clear_mark(frontend, backend)
            self._news.alive(frontend, backend)
            if self._counters is not None:
                self._counters.count("marks_cleared")
            logger.info(
                "backend alive frontend=%s backend=%s after=%.1fs",
                frontend.key, backend.url, time.time() - known.since,
            )  # fmt: skip

    async def _as_it_is(self, target: Target) -> tuple[Frontend, Backend | None, Mark | None]:
        found = await self._routes.lookup(target.frontend.key)
        if found is None or found.frontend.key != target.frontend.key:
            return target.frontend, None, None
        frontend, url = found.frontend, target.backend.url
        backend = next((b for b in frontend.backends if b.url == url), None)
        return frontend, backend, (await self._routes.read_marks(frontend)).get(url)
