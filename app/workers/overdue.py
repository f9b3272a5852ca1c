"""Detects workers that hang or drain for too long. Reads no clock."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from .generation import Patience
from .process import WorkerProcess

logger = logging.getLogger("hipache.supervisor")

KILL_DELAY = 0.8
"""Seconds more than a draining worker was told: it cuts and reports by itself first."""
ASLEEP = 3.0
"""Seconds between two looks, of which there is one a second, that mean: nobody ran at all."""


class HangDetection:
    """Looks at all workers about once a second. Times are seconds on one clock."""

    def __init__(self) -> None:
        self._looked = float("inf")

    def overdue(
        self, workers: Iterable[WorkerProcess], patience: Patience, now: float
    ) -> list[tuple[WorkerProcess, str]]:
        """The workers that must be killed, and why.

        A paused container or virtual machine stops the supervisor as well as its workers.
        Their silence during the pause proves nothing, and killing all of them for it would
        end the service.
        """
        slept, self._looked = now - self._looked, now
        if slept > ASLEEP:
            logger.warning("everything stood still for=%.0fs", slept)
            for worker in workers:
                worker.last_seen = now
        found = ((worker, _reason(worker, patience, now)) for worker in workers)
        return [(worker, why) for worker, why in found if why]


def _reason(worker: WorkerProcess, patience: Patience, now: float) -> str:
    limit = patience.hang_timeout if worker.ready else patience.start_timeout
    if now > worker.drain_deadline + KILL_DELAY:
        return "did not drain in time"
    if limit and now - worker.last_seen > limit:
        return "gives no sign of life"
    return ""
