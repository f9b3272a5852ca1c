"""Which frontends this worker checks, and at what moments: the same ones in every worker.

A frontend belongs to a shard by its key alone, and a shard to the worker with its lease, so two
workers never check the same backend. A backend is checked when the store's clock, modulo the
interval, passes a moment that its key and URL give: a new holder goes on in the rhythm of the last
one. What fell due while nobody had the shard, the new holder checks in a hurry, in the same order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf
from zlib import crc32

from ..stores.base import ShardLeases

SHARDS = 120
"""As many workers may check at once; the number has many divisors, so that most fleets share it
evenly. More of them would spread better, and read the keys of the store more often: each worker
lists them for itself."""
HURRY = 4
"""How many times as fast as usual a new holder does what was left undone."""
LATE = 0.25
"""Seconds by which a check may begin after its moment."""


def shard_of(key: str) -> int:
    """The shard of a frontend's key."""
    return crc32(key.encode()) % SHARDS


class Shards:
    """The shards of one worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds, monotonic."""
        self._clock = clock
        self._ahead = 0.0
        self._ends = -inf
        self._since: dict[int, float] = {}
        self._undone: dict[int, float] = {}
        self._done_at: dict[int, float] = {}
        self.waiting = False
        """As many workers check as there are shards; this one does when one of them ends."""
        self.gained = asyncio.Event()
        """There is a shard that was not ours a moment ago."""

    @property
    def held(self) -> frozenset[int]:
        """Those that are ours."""
        return frozenset(self._since)

    @property
    def counted(self) -> bool:
        """Whether the store counts this worker as a checker, with shards or without."""
        return self._clock() < self._ends

    def renew(self, leases: ShardLeases, ends: float) -> None:
        """Have these, and no others, until `ends` by our own clock."""
        self._ahead = leases.now - self._clock()
        self.waiting = not leases.counted
        self._ends = ends if leases.counted else -inf
        before = self._since
        self._since = {n: before.get(n, since - LATE) for n, since in leases.renewed.items()}
        self._undone = {n: since for n, since in self._undone.items() if n in self._since}
        for shard in self._since.keys() - before.keys():
            self._undone[shard] = leases.renewed[shard]
            self._done_at.pop(shard, None)
            self.gained.set()

    def lose(self) -> None:
        """Have none."""
        self._since, self._undone, self._ends, self.waiting = {}, {}, -inf, False

    def has(self, key: str) -> bool:
        """Whether the frontend `key` is ours: not if its lease may be over, as in a slow store."""
        return shard_of(key) in self._since and self.counted

    def moments(self, key: str, url: str, interval: float) -> tuple[float, float | None]:
        """Seconds to the next check of a backend, and to one before it that was left undone."""
        there = self._clock() + self._ahead
        phase = crc32(f"{key} {url}".encode()) / 2**32 * interval
        ahead, shard = (phase - there) % interval, shard_of(key)
        before, since = there + ahead - interval, self._since.get(shard, there)
        if before < since:
            return ahead, None
        # What was due shortly before `since` may have been late, and is not worth a wait.
        undone = max(0.0, before - max(since + LATE, there - interval)) / HURRY
        begun = there + undone + LATE
        self._done_at[shard] = max(self._done_at.get(shard, begun), begun)
        return ahead, undone

    def caught_up(self, shards: frozenset[int]) -> None:
        """All backends of these are known; no other one of them was left undone."""
        there = self._clock() + self._ahead
        for shard in self._since.keys() & shards:
            self._since[shard] = there
            self._done_at.setdefault(shard, there)

    def undone(self) -> dict[int, float]:
        """The shards in which something is left undone, and up to when all of it was checked."""
        there = self._clock() + self._ahead
        at = self._done_at
        self._undone = {n: since for n, since in self._undone.items() if at.get(n, inf) > there}
        return self._undone
