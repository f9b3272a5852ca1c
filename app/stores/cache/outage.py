"""Whether the store is away, when to ask it again, and when to log that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from time import monotonic

logger = logging.getLogger(__name__)

PROBE_EVERY = 1.0
"""Seconds between requests that ask a store that is away."""
NOTE_EVERY = 60.0
"""Seconds between two lines about an outage, or about single answers that did not come."""


class Outage:
    """One store's absence, as this worker sees it."""

    def __init__(self, store: str) -> None:
        """`store`: its name for the log."""
        self.away = False
        self._store = store
        self._since = self._said_at = self._probe_at = 0.0
        self._failures = 0
        self._noted = -inf
        self._contact = monotonic()
        self.on_away: Callable[[], None] = lambda: None
        self.on_back: Callable[[], None] = lambda: None
        """Called at the beginning and at the end of an outage."""

    def begin(self, reason: str, routes: int) -> bool:
        """The store did not answer. Returns whether it was there before."""
        now = asyncio.get_running_loop().time()
        self._probe_at = now + PROBE_EVERY
        if self.away:
            self._failures += 1
            if now >= self._said_at + NOTE_EVERY:
                self._said_at = now
                logger.error(
                    "store still away store=%s cause=%s for=%ds failures=%d",
                    self._store, reason, now - self._since, self._failures,
                )  # fmt: skip
            return False
        self.away, self._since, self._said_at, self._failures = True, now, now, 1
        logger.error("store away store=%s cause=%s kept_routes=%d", self._store, reason, routes)
        self.on_away()
        return True

    def note(self, reason: str) -> None:
        """The store is there, but did not answer once. This is logged now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._noted + NOTE_EVERY:
            self._noted = now
            logger.warning("store slow store=%s cause=%s", self._store, reason)

    def end(self) -> None:
        """The store answered."""
        self.heard()
        if self.away:
            self.away = False
            seconds = asyncio.get_running_loop().time() - self._since
            logger.info("store back store=%s after=%.1fs", self._store, seconds)
            self.on_back()

    def heard(self) -> None:
        """The store gave a sign of life."""
        self._contact = monotonic()

    def contact_age(self) -> float:
        """Seconds since it did."""
        return monotonic() - self._contact

    def time_to_probe(self) -> bool:
        """Returns whether this request may ask the store: one may in PROBE_EVERY seconds."""
        now = asyncio.get_running_loop().time()
        if now < self._probe_at:
            return False
        self._probe_at = now + PROBE_EVERY
        return True
