"""A CA that failed is asked nothing for a while, whatever the name."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .failures import OrderFailed

logger = logging.getLogger("hipache.acme")

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds for which a process asks no CA after the CA failed: doubled, unless the CA says how
long. It gives the lease away meanwhile: another machine may reach the CA."""


class StandingBack:
    """Of one process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pause, self._until = FIRST_PAUSE, 0.0

    def __bool__(self) -> bool:
        """Whether nothing is asked now."""
        return self._clock() < self._until

    def failed(self, exc: OrderFailed) -> None:
        """The CA is to blame."""
        if self:
            return  # others that began before failed alike
        pause = min(exc.retry_after or self._pause, LONGEST_PAUSE)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._until = self._clock() + pause
        logger.warning("no CA is asked for a while pause=%.0fs cause=%s", pause, exc)

    def worked(self) -> None:
        """There was a certificate: the next pause is a short one."""
        self._pause = FIRST_PAUSE
