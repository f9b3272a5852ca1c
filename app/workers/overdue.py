"""When a worker has kept its supervisor waiting for too long. Pure of clocks."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from .generation import Limits
from .process import WorkerProcess

logger = logging.getLogger("hipache.supervisor")

LAST_WORDS = 0.8
"""Seconds more than a draining worker was told: it cuts and reports by itself first."""
ASLEEP = 3.0
"""Seconds between two looks, of which there is one a second, that mean: nobody ran at all."""


class Patience:
    """Looks at all workers about once a second. Times are seconds on one clock."""

    def __init__(self) -> None:
        self._looked = float("inf")

    def overdue(
        self, workers: Iterable[WorkerProcess], limits: Limits, now: float
    ) -> list[tuple[WorkerProcess, str]]:
        """Those that must go, and why.

        Whoever pauses a container or a virtual machine stops the supervisor too: what
        it has not heard since then nobody could say, and to kill all workers for
        it at once would end the service.
        """
        slept, self._looked = now - self._looked, now
        if slept > ASLEEP:
            logger.warning("everything stood still for=%.0fs", slept)
            for worker in workers:
                worker.last_seen = now
        found = ((worker, _reason(worker, limits, now)) for worker in workers)
        return [(worker, why) for worker, why in found if why]


def _reason(worker: WorkerProcess, limits: Limits, now: float) -> str:
    patience = limits.hang_timeout if worker.ready else limits.start_timeout
    if now > worker.drain_deadline + LAST_WORDS:
        return "did not drain in time"
    if patience and now - worker.last_seen > patience:
        return "gives no sign of life"
    return ""
