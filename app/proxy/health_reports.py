"""Shares what requests learn about backends: marks, announcements, one log line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..balancing.balancer import Balancer
from ..balancing.evidence import Evidence, Window
from ..balancing.samples import Sample
from ..config.structs import ServerConfig
from ..errors import UpstreamError, UpstreamPreempted
from ..fields.headers import RawHeaders
from ..frontends.rates import one_client
from ..health import (
    Outcome,
    Verdict,
    can_lose_one,
    can_lose_one_by_evidence,
    cause_of,
    next_mark,
    outcome_of,
    verdict,
)
from ..metrics.counters import Counters
from ..routing import Backend, Frontend, Route
from ..stores.base import FOREIGN
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes
from .attempt import Attempt

logger = logging.getLogger(__name__)


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
        true_client: Callable[[RawHeaders, str], str],
        counters: Counters | None = None,
        news: MarkNews = MarkNews(),  # noqa: B008 - immutable
    ) -> None:
        """`name` is this proxy's: a mark names who set it. `clock` gives Unix seconds.
        `true_client` tells a client's address from fields and peer, `news` hears of marks."""
        self._routes = routes
        self._balancer = balancer
        self._config = config
        self.dead_on_500 = config.dead_backend_on500
        self._name = name
        self._clock = clock
        self._checkers = checkers
        self._true_client = true_client
        self._counters = counters
        self._news = news
        self._evidence = Evidence()
        self._windows = self._evidence.windows

    def answered(self, attempt: Attempt[Any], status: int, headers: RawHeaders) -> None:
        """The backend sent a final head; `headers` have lower-case names."""
        route = attempt.route
        if not 500 <= status <= 599:
            if self._windows and (window := self._windows.get(route.frontend.key)) is not None:
                self._good(attempt, window)
            if route.marks:
                self._alive(route, attempt.backend)
            return
        announced = any(name == b"retry-after" for name, _ in headers)
        judgement = verdict(
            Outcome.ANSWERED, status, retry_after=announced, dead_on_500=self.dead_on_500
        )
        self.count_failure(attempt, "status 5xx", judgement)
        self.act(judgement, attempt, f"status {status}", "status 5xx")

    def count_failure(
        self, attempt: Attempt[Any], reason: str, says: Verdict, *, answered: bool = True
    ) -> None:
        """An attempt that failed, with an answer or without one."""
        if self._counters is not None:
            key, url = attempt.route.frontend.key, attempt.backend.url
            self._counters.attempt_failed(key, url, reason, says, answered=answered)

    def failed(
        self, attempt: Attempt[Any], error: BaseException, *, answer_started: bool = False
    ) -> None:
        """An attempt ended with `error`; `answer_started`: inside the answer's body."""
        outcome = outcome_of(error, answer_started=answer_started)
        judgement = verdict(outcome)
        if not isinstance(error, UpstreamPreempted):
            self.count_failure(attempt, outcome, judgement, answered=answer_started)
        elif self._counters is not None:  # the backend did what it could
            self._counters.count("attempt_failures", outcome)
        if answer_started and judgement is Verdict.EVIDENCE:
            self.take_back(attempt)
        self.act(judgement, attempt, cause_of(error, outcome), outcome)

    def take_back(self, attempt: Attempt[Any]) -> None:
        """The head of its answer counted as good, too early."""
        key = attempt.route.frontend.key
        if key in self._windows:
            sample = self._sample(attempt, 0.0, failed=False)
            self._evidence.take_back(key, attempt.backend.url, sample.client, sample.target)

    def retried(self, error: UpstreamError) -> None:
        """After an attempt that ended with `error` comes another."""
        if self._counters is not None:
            self._counters.count("retries", outcome_of(error))

    def act(self, judgement: Verdict, attempt: Attempt[Any], cause: str, reason: str) -> None:
        """`cause` is for people; `reason` is one of a few words, which the counters use."""
        frontend = attempt.route.frontend
        dead = judgement is Verdict.DEAD
        if can_lose_one(frontend) or (dead and self._balancer.options(attempt.route).wake):
            if dead:
                self._dead(frontend, attempt.backend, cause, reason)
            elif judgement is Verdict.EVIDENCE:
                self._weigh(attempt, cause, reason)
        elif dead and not self._checkers.foreign:
            self._news.only_failed(frontend, attempt.backend)

    def _good(self, attempt: Attempt[Any], window: Window) -> None:
        now, url = self._clock(), attempt.backend.url
        tally = window.tallies.get(url)
        if tally is None or not tally.skips(now):
            sample = self._sample(attempt, now, failed=False)
            self._evidence.answered(attempt.route.frontend.key, url, sample)

    def _sample(self, attempt: Attempt[Any], now: float, *, failed: bool) -> Sample:
        request = attempt.request
        path, query, _ = request.target.partition(b"?")
        of_path = hash((request.method, path))
        return Sample(
            now,
            hash(one_client(self._true_client(request.headers, request.client))),
            of_path,
            hash((request.method, request.target)) if query else of_path,
            failed,
        )

    def _weigh(self, attempt: Attempt[Any], cause: str, reason: str) -> None:
        """The request may be to blame: mark the backend once the evidence is enough."""
        frontend, backend = attempt.route.frontend, attempt.backend
        now, marks = self._clock(), self._routes.marks_of(frontend)
        marked = {url for url, mark in marks.items() if mark.until > now}
        if backend.url in marked:
            return
        sample = self._sample(attempt, now, failed=True)
        grounds = self._evidence.failed(
            frontend.key, backend.url, sample, marked,
            only_backups=self._only_backups_left(attempt.route, {*marked, backend.url}),
        )  # fmt: skip
        if grounds is None:
            return
        cause = f"{grounds}, the last: {cause}"
        if self._checkers.foreign or can_lose_one_by_evidence(frontend, marks, now):
            self._dead(frontend, backend, cause, reason, evidence=True)
            return
        self._evidence.forget(frontend.key, backend.url)
        logger.warning(
            "backend failed frontend=%s backend=%s cause=%s mark=none, half are out",
            frontend.key, backend.url, cause,
        )  # fmt: skip

    def _only_backups_left(self, route: Route, without: set[str]) -> bool:
        """Whether a backup would serve the frontend, if `without` did not."""
        options = self._balancer.options(route)
        if not options.backups or without & options.backups:
            return False
        left = {backend.url for backend in route.frontend.backends} - without - options.drained
        return bool(left) and left <= options.backups

    def _dead(
        self, frontend: Frontend, backend: Backend, cause: str, reason: str, *,
        evidence: bool = False,
    ) -> None:  # fmt: skip
        self._evidence.forget(frontend.key, backend.url)
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
            evidence=evidence,
        )
        if mark is not None:
            self._routes.mark_dead(frontend, backend, mark)
            self._news.dead(frontend, backend, cause, known is None)
            if self._counters is not None:
                self._counters.count("marks", reason)
            logger.warning(
                "backend dead frontend=%s backend=%s cause=%s ttl=%gs",
                frontend.key, backend.url, cause, mark.until - now,
            )  # fmt: skip

    def _alive(self, route: Route, backend: Backend) -> None:
        frontend = route.frontend
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
        self._news.alive(frontend, backend)
        if self._counters is not None:
            self._counters.count("marks_cleared")
        logger.info(
            "backend alive frontend=%s backend=%s after=%.1fs",
            frontend.key, backend.url, self._clock() - known.since,
        )  # fmt: skip
