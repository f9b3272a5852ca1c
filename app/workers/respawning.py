"""When a worker that died is started again: at once, unless it keeps dying. Pure of clocks."""

from __future__ import annotations

import logging

logger = logging.getLogger("hipache.supervisor")

FIRST_DELAY = 0.5
"""Seconds before the successor of a worker that died at once starts; doubles each time."""
MANY_DEATHS = 5
"""Deaths in a row after which it is said that this will not get better by itself."""


class Respawning:
    """Keeps for each slot when its next worker starts. Times are seconds on one clock.

    A worker that dies before it is `early` seconds old died at once: so many
    deaths in a row fit into a minute.
    """

    def __init__(self, *, early: float = 60.0 / MANY_DEATHS, longest: float = 30.0) -> None:
        self._early = early
        self._longest = longest
        self._deaths: dict[int, int] = {}  # slot -> deaths at once in a row
        self._due: dict[int, float] = {}  # slot -> when

    def delay(self, slot: int, age: float, status: str) -> float:
        """Note a death at that age, with that exit status; how long its successor has to wait."""
        deaths = self._deaths[slot] = self._deaths.get(slot, 0) + 1 if age < self._early else 0
        delay = min(FIRST_DELAY * 2.0 ** (deaths - 1), self._longest) if deaths else 0.0
        if deaths >= MANY_DEATHS:
            logger.error(
                "worker keeps dying at once worker=%d deaths=%d status=%s next_in=%.0fs",
                slot, deaths, status, delay,
            )  # fmt: skip
        return delay

    def at(self, slot: int, when: float) -> None:
        """Start one for `slot` then."""
        self._due[slot] = when

    def started(self, slot: int) -> None:
        """Nothing is owed to `slot` any more."""
        self._due.pop(slot, None)

    def limit(self, slots: int) -> None:
        """Owe nothing to slots above `slots`."""
        for slot in [slot for slot in self._due if slot > slots]:
            del self._due[slot]

    def due(self, now: float) -> list[int]:
        """The slots whose time has come."""
        return [slot for slot, when in self._due.items() if when <= now]

    @property
    def times(self) -> list[float]:
        """When something is due."""
        return list(self._due.values())
