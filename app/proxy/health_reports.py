"""Shares what requests learn about backends: marks, announcements, one log line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..balancing.balancer import Balancer
from ..config.structs import ServerConfig
from ..errors import UpstreamError
from ..fields.headers import RawHeaders
from ..health import (
    STRIKES,
    Outcome,
    Verdict,
    can_lose_one,
    cause_of,
    next_mark,
    outcome_of,
    verdict,
)
from ..metrics.counters import Counters
from ..routing import Backend, Route
from ..stores.base import FOREIGN
from ..stores.routes import Routes

logger = logging.getLogger(__name__)

_MAX_STRIKES = 10_000  # backends that strikes are counted for


@dataclass(slots=True)
class Checkers:
    """Which active checkers are alive: the watcher of checkers writes this, the reports read it."""

    foreign: bool = False
    """hchecker, or a program like it, announces itself: marking is left to it."""
    ours: bool = False
    """Our own fleet checks every frontend."""


class HealthReports:
    """Turns the outcomes of attempts into marks. One for each worker."""

    def __init__(
        self,
        routes: Routes,
        balancer: Balancer,
        config: ServerConfig,
        *,
        name: str,
        clock: Callable[[], float],
        checkers: Checkers,
        counters: Counters | None = None,
    ) -> None:
        """`name` is this proxy's: a mark names who set it. `clock` gives Unix seconds."""
        self._routes = routes
        self._balancer = balancer
        self._config = config
        self._name = name
        self._clock = clock
        self._checkers = checkers
        self._counters = counters
        self._strikes: dict[tuple[str, str], int] = {}

    def answered(self, route: Route, backend: Backend, status: int, headers: RawHeaders) -> None:
        """`backend` sent a final head; `headers` have lower-case names."""
        if status < 500 and not route.marks and not self._strikes:
            return
        if status >= 500 and self._counters is not None:
            self._counters.attempt_failed(
                route.frontend.key, backend.url, "status 5xx", answered=True
            )
        judgement = verdict(
            Outcome.ANSWERED,
            status,
            retry_after=any(name == b"retry-after" for name, _ in headers),
            dead_on_500=self._config.dead_backend_on500,
            checked=self._checkers.foreign or self._checkers.ours,
        )
        self._act(judgement, route, backend, f"status {status}", "status 5xx")

    def failed(
        self, route: Route, backend: Backend, error: BaseException, *, answer_started: bool = False
    ) -> None:
        """An attempt ended with `error`; `answer_started`: inside the answer's body."""
        outcome = outcome_of(error, answer_started=answer_started)
        if self._counters is not None:
            self._counters.attempt_failed(
                route.frontend.key, backend.url, outcome, answered=answer_started
            )
        self._act(verdict(outcome), route, backend, cause_of(error, outcome), outcome)

    def retried(self, error: UpstreamError) -> None:
        """After an attempt that ended with `error` comes another."""
        if self._counters is not None:
            self._counters.count("retries", outcome_of(error))

    def _act(
        self, judgement: Verdict, route: Route, backend: Backend, cause: str, reason: str
    ) -> None:
        """`cause` is for people; `reason` is one of a few words, which the counters use."""
        if judgement is Verdict.ALIVE:
            self._alive(route, backend)
        elif judgement is not Verdict.NOTHING and can_lose_one(route.frontend):
            if judgement is Verdict.COUNTS:
                strikes = self._strike(route, backend)
                if strikes < STRIKES:
                    return
                cause = f"{strikes} failures in a row, the last: {cause}"
            self._strikes.pop((route.frontend.key, backend.url), None)
            self._dead(route, backend, cause, reason)

    def _strike(self, route: Route, backend: Backend) -> int:
        if len(self._strikes) >= _MAX_STRIKES:
            self._strikes.clear()
        key = route.frontend.key, backend.url
        self._strikes[key] = self._strikes.get(key, 0) + 1
        return self._strikes[key]

    def _dead(self, route: Route, backend: Backend, cause: str, reason: str) -> None:
        frontend = route.frontend
        if self._checkers.foreign:
            logger.warning(
                "backend failed frontend=%s backend=%s cause=%s mark=left to the active checker",
                frontend.key, backend.url, cause,
            )  # fmt: skip
            self._routes.announce(frontend, backend)
            return
        # The route is as old as the request; others may have marked since.
        known = self._routes.marks_of(frontend).get(backend.url)
        now = self._clock()
        mark = next_mark(
            known,
            now=now,
            ttl=self._config.dead_backend_ttl,
            max_ttl=self._config.dead_backend_max_ttl,
            reason=cause,
            by=self._name,
        )
        if mark is not None:
            self._routes.mark_dead(frontend, backend, mark)
            if self._counters is not None:
                self._counters.count("marks", reason)
            logger.warning(
                "backend dead frontend=%s backend=%s cause=%s ttl=%gs",
                frontend.key, backend.url, cause, mark.until - now,
            )  # fmt: skip

    def _alive(self, route: Route, backend: Backend) -> None:
        frontend = route.frontend
        self._strikes.pop((frontend.key, backend.url), None)
        then = route.marks.get(backend.url)
        if then is None:
            return
        # An answer to a request from before the mark proves nothing about afterwards.
        on_trial = self._balancer.on_trial(route, backend)
        if not on_trial and then.until > self._clock():
            return
        known = self._routes.marks_of(frontend).get(backend.url)
        if known is None or (known.by, known.failures) != (then.by, then.failures):
            return  # cleared already, or marked again since this attempt began
        if known.by == FOREIGN and self._checkers.foreign:
            return
        self._routes.clear_mark(frontend, backend)
        if self._counters is not None:
            self._counters.count("marks_cleared")
        logger.info(
            "backend alive frontend=%s backend=%s after=%.1fs",
            frontend.key, backend.url, self._clock() - known.since,
        )  # fmt: skip
