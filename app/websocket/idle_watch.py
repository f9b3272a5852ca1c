"""Finds sessions on which nothing moves, at no cost to those on which something does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CHECKS = 4
"""Looks per limit: a standstill is noticed at most a quarter of the limit late."""


class IdleWatch:
    """Calls `on_idle` once, when `progress()` gave the same number for `limit` seconds."""

    __slots__ = ("_checks", "_limit", "_on_idle", "_progress", "_seen", "_timer")

    def __init__(
        self, limit: float, progress: Callable[[], int], on_idle: Callable[[], None]
    ) -> None:
        self._limit = limit
        self._progress = progress
        self._on_idle = on_idle
        self._seen = progress()
        self._checks = 0
        self._timer = self._later()

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._limit / CHECKS, self._look)

    def _look(self) -> None:
        seen = self._progress()
        self._checks = self._checks + 1 if seen == self._seen else 0
        self._seen = seen
        if self._checks >= CHECKS:
            self._on_idle()
        else:
            self._timer = self._later()
