"""Refuses requests while this worker is overloaded, and logs it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...errors import Overloaded
from .shedding import Shedding

logger = logging.getLogger(__name__)

LOG_EVERY = 60.0
"""Seconds between two log lines."""


class Overload(Shedding):
    """Shedding that logs."""

    __slots__ = ("_clock", "_logged")

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        """`limit` in seconds, as Shedding has it; `clock`: seconds, monotonic."""
        super().__init__(limit)
        self._clock = clock
        self._logged = -LOG_EVERY

    def look(self, late: float) -> None:
        """The loop was `late` seconds behind at this look."""
        super().look(late)
        if self.active and (now := self._clock()) - self._logged >= LOG_EVERY:
            self._logged = now
            logger.warning(
                "turning requests away loop late=%.2fs limit=%.2fs so far=%d",
                late,
                self.limit,
                self.turned_away,
            )

    def check(self, frontend: str) -> None:
        """Raise Overloaded for a request that is refused. Call this only while `active`."""
        if not self.admits(frontend):
            raise Overloaded("the event loop is late")
