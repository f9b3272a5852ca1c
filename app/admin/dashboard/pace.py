"""How fast things go: the difference between two sums of what the workers have counted."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import nlargest
from operator import sub
from time import monotonic

from ...metrics.families import (
    BACKEND,
    BAD,
    BYTES_IN,
    DURATION,
    EVIDENCE,
    FRONTEND,
    HEAD,
    OTHER,
    UNANSWERED,
)
from ...metrics.folder import Sum
from ...metrics.quantiles import quantile
from ...metrics.shown import requests as requests_of
from ..state import Sources

FRESH = 1.5
"""Seconds for which a sum is good enough for everybody who looks."""
STEP = 5.0
"""Rates are taken over one to two steps."""
OLD = 60.0
"""Seconds after which an earlier sum says nothing of now."""
FIRST = 0.5
"""Seconds that the first look after a pause takes, to have two sums."""
_FAILED = slice(10, 12)
"""The cells of a frontend that count 5xx."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of a frontend, of a backend, or of all together."""

    per_second: float = 0.0
    errors_per_second: float = 0.0
    p50: float | None = None
    """Seconds; None without any request, infinite beyond the last bucket."""
    p99: float | None = None
    total: int = 0
    """Since the service started."""
    errors: int = 0
    evidence: int = 0
    """Attempts that are evidence against a backend, since the service started."""

    @property
    def share_failed(self) -> float:
        """Of those of now."""
        return self.errors_per_second / self.per_second if self.per_second else 0.0


@dataclass(frozen=True, slots=True)
class Lookback:
    """Two sums and the time between them."""

    before: Sum
    after: Sum
    seconds: float
    bounds: tuple[float, ...]

    def frontend(self, key: str) -> Pace:
        """Of one frontend, by what its clients got."""
        return self._of_frontend(*self._cells(f"{FRONTEND}\0{key}"))

    def backend(self, key: str, url: str) -> Pace:
        """Of one backend of a frontend, by its answers."""
        before, after = self._cells("\0".join((BACKEND, key, url)))
        gone = _difference(before, after)
        attempts, failed = _attempts(gone), gone[UNANSWERED] + gone[BAD] if gone else 0.0
        pace = self._pace(attempts, failed, gone[HEAD + 1 :], _attempts(after), _bad(after))
        return replace(pace, evidence=int(after[EVIDENCE])) if after else pace

    def whole(self) -> Pace:
        """Of all frontends together, with what none matched."""
        before, after = (_summed(total, FRONTEND) for total in (self.before, self.after))
        return self._of_frontend(before, after)

    def names(self) -> Iterator[str]:
        """The frontends that had requests and are counted by name."""
        start = f"{FRONTEND}\0"
        for name in self.after.blocks:
            if name.startswith(start) and name not in (start, start + OTHER):
                yield name[len(start) :]

    def busiest(self, most: int) -> list[str]:
        """The frontends with the most requests in these seconds, the busiest first."""
        return self._most(slice(0, BYTES_IN), most)

    def failing(self, most: int) -> list[str]:
        """Those with the most 5xx."""
        return self._most(_FAILED, most)

    def _most(self, part: slice, most: int) -> list[str]:
        counts = {}
        for key in self.names():
            before, after = self._cells(f"{FRONTEND}\0{key}")
            if count := sum(after[part]) - sum(before[part]):
                counts[key] = count
        return nlargest(most, counts, key=counts.__getitem__)

    def slowest(self, most: int) -> list[tuple[str, str]]:
        """Frontend and URL of the backends whose answers took longest, on average."""
        means: dict[tuple[str, str], float] = {}
        start = f"{BACKEND}\0"
        for name, after in self.after.blocks.items():
            if name.startswith(start):
                before = self.before.blocks.get(name)
                seconds, count = after[HEAD], sum(after[HEAD + 1 :])
                if before is not None:
                    seconds, count = seconds - before[HEAD], count - sum(before[HEAD + 1 :])
                _, key, url = name.split("\0")
                if count > 0 and url and key != OTHER:
                    means[key, url] = seconds / count
        return nlargest(most, means, key=means.__getitem__)

    def _of_frontend(self, before: array[float], after: array[float]) -> Pace:
        gone = _difference(before, after)
        return self._pace(
            requests_of(gone), sum(gone[_FAILED]), gone[DURATION + 1 :],
            requests_of(after), sum(after[_FAILED]),
        )  # fmt: skip

    def _cells(self, name: str) -> tuple[array[float], array[float]]:
        after = self.after.blocks.get(name, _NOTHING)
        return self.before.blocks.get(name, _NOTHING), after

    def _pace(
        self, count: float, failed: float, buckets: array[float], total: float, errors: float
    ) -> Pace:
        whole = [int(each) for each in buckets]
        return Pace(
            count / self.seconds, failed / self.seconds,
            quantile(0.5, whole, self.bounds), quantile(0.99, whole, self.bounds),
            int(total), int(errors),
        )  # fmt: skip


_NOTHING: array[float] = array("d")


def _difference(before: array[float], after: array[float]) -> array[float]:
    """What came between. A service that was started anew counts from zero."""
    if not before:
        return after
    gone = array("d", map(sub, after, before))
    return gone if all(each >= 0 for each in gone) else after


def _attempts(cells: array[float]) -> float:
    return cells[UNANSWERED] + sum(cells[HEAD + 1 :]) if cells else 0.0


def _bad(cells: array[float]) -> float:
    return cells[UNANSWERED] + cells[BAD] if cells else 0.0


def _summed(total: Sum, kind: str) -> array[float]:
    rows = [cells for name, cells in total.blocks.items() if name.startswith(f"{kind}\0")]
    return array("d", map(sum, zip(*rows, strict=False)))


class Pacer:
    """Takes sums while somebody looks, and shares them between all who do."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._sums: list[tuple[float, Sum]] = []
        self._last: Lookback | None = None
        self._lock = asyncio.Lock()

    async def window(self) -> Lookback:
        """What has happened over the last seconds: the same object until a new sum is taken."""
        async with self._lock:
            now = monotonic()
            if self._sums and now - self._sums[-1][0] > OLD:
                self._sums.clear()
            if not self._sums:
                await self._take()
                await asyncio.sleep(FIRST)
            stale = len(self._sums) < 2 or monotonic() - self._sums[-1][0] > FRESH
            if stale or self._last is None:
                await self._take()
                (then, before), (now, after) = self._sums[0], self._sums[-1]
                bounds = tuple(self._sources.config.admin.buckets)
                self._last = Lookback(before, after, now - then, bounds)
            return self._last

    async def _take(self) -> None:
        """Three sums are kept: the first is one to two steps old, and leads to the last."""
        total = await self._sources.sum()
        now, sums = monotonic(), self._sums
        if len(sums) == 3:
            if sums[2][0] - sums[1][0] >= STEP:
                del sums[0]
            else:
                del sums[2]
        sums.append((now, total))
