"""Why a backend is marked that takes connections. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

FEWEST_GOOD = 3
"""Requests that must have succeeded at other backends."""

DEVIATIONS = 4.0
"""Standard deviations by which a backend must be worse than the others. With three, an application
that fails half of all requests loses a sound backend every few minutes, by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Why a backend was found sick."""

    failed: int
    asked: int
    paths: int
    """Different requests that failed."""
    clients: int
    """Different clients whose requests failed."""
    seconds: float
    """Since the first failure."""
    others_failed: int
    others_asked: int
    """Requests to other backends that can be compared."""

    def __str__(self) -> str:
        different = f"{self.paths} different" if self.paths > 1 else "all alike"
        clients = f"{self.clients} clients" if self.clients > 1 else "1 client"
        others = (
            f"of other backends' {self.others_failed} of {self.others_asked}"
            if self.others_asked
            else "there are only backups beside it"
        )
        return (
            f"{self.failed} of {self.asked} requests failed in {self.seconds:.1f} s "
            f"({different}, {clients}), {others}"
        )

    @property
    def is_worse(self) -> bool:
        """Whether the share that failed is greater than the others' by more than chance."""
        if self.others_asked - self.others_failed < FEWEST_GOOD:
            return False
        # The two-proportion z-test.
        share = (self.failed + self.others_failed) / (self.asked + self.others_asked)
        deviation = sqrt(share * (1 - share) * (1 / self.asked + 1 / self.others_asked))
        mine, theirs = self.failed / self.asked, self.others_failed / self.others_asked
        return mine - theirs >= DEVIATIONS * deviation
