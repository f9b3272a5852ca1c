"""The latest requests to one backend, and how they ended. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

PER_CLIENT = 10
MAX_CLIENTS = 10
"""Clients in one tally, those heard of last."""


class Sample(NamedTuple):
    """How one request ended. Hashes stand for texts: they take no room."""

    at: float
    client: int
    path: int
    """Of method and path."""
    target: int
    """Of method and target: with the query."""
    failed: bool
    weight: int = 1
    """Good answers that it stands for."""


SPACING = 0.005
"""Seconds from one good answer of a busy backend that is looked at to the next; those between
only add to its weight."""


class Tally:
    """The latest samples of one backend, a few for each of the latest clients."""

    __slots__ = ("_before", "_clients", "_good_at", "_skipped", "failing_since", "failures")

    def __init__(self) -> None:
        self._clients: dict[int, deque[Sample]] = {}
        self.failures = 0
        """All that were added."""
        self.failing_since = self._before = inf
        """When the first failed after the latest success, and the same before that success."""
        self._good_at = -inf
        self._skipped = 0

    def skips(self, now: float) -> bool:
        """Whether a good answer comes so soon after another that it is only counted."""
        if 0 <= now - self._good_at < SPACING:
            self._skipped += 1
            return True
        return False

    def add(self, sample: Sample) -> None:
        """It replaces the oldest of its client, or a client that nothing was heard of for long."""
        if sample.failed:
            self.failing_since = min(self.failing_since, sample.at)
        else:
            self._before, self.failing_since = self.failing_since, inf
            self._good_at = sample.at
            if self._skipped:
                sample = sample._replace(weight=1 + self._skipped)
                self._skipped = 0
        latest = self._clients.pop(sample.client, None)
        if latest is None:
            latest = deque(maxlen=PER_CLIENT)
            if len(self._clients) >= MAX_CLIENTS:
                del self._clients[next(iter(self._clients))]
        latest.append(sample)
        self._clients[sample.client] = latest
        self.failures += sample.failed

    def take_back(self, client: int, target: int) -> None:
        """Forget the latest success of this request."""
        latest = self._clients.get(client, deque())
        for position in reversed(range(len(latest))):
            if latest[position].target == target and not latest[position].failed:
                del latest[position]
                self.failing_since = min(self.failing_since, self._before)
                return

    def since(self, moment: float) -> Iterator[Sample]:
        """The samples that are not older."""
        for latest in self._clients.values():
            yield from (sample for sample in latest if sample.at >= moment)
