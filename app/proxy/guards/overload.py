"""Turns requests away while this worker has too much to do, and says so."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...errors import Overloaded
from .shedding import Shedding

logger = logging.getLogger(__name__)

SAY_EVERY = 60.0
"""Seconds between two lines."""


class Overload(Shedding):
    """Shedding with a voice."""

    __slots__ = ("_clock", "_said")

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        """`limit` in seconds, as Shedding has it; `clock`: seconds, monotonic."""
        super().__init__(limit)
        self._clock = clock
        self._said = -SAY_EVERY

    def look(self, late: float) -> None:
        """The loop was `late` seconds behind at this look."""
        super().look(late)
        if self.active and (now := self._clock()) - self._said >= SAY_EVERY:
            self._said = now
            logger.warning(
                "turning requests away loop late=%.2fs limit=%.2fs so far=%d",
                late,
                self.limit,
                self.turned_away,
            )

    def check(self, frontend: str) -> None:
        """Raise Overloaded for a request that is turned away; needed only while `active`."""
        if not self.admits(frontend):
            raise Overloaded("the event loop is late")
