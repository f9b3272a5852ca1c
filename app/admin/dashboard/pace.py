"""How fast things go: the difference between two sums of what the workers have counted."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import nlargest
from operator import add, sub
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
from ...system.turns import in_turns
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
    """A sum, and what led to it over the last seconds."""

    after: Sum
    moved: Mapping[str, array[float]]
    """What came between, by the name of the block: of most frontends and backends nothing did."""
    seconds: float
    bounds: tuple[float, ...]

    def frontend(self, key: str) -> Pace:
        """Of one frontend, by what its clients got."""
        name = _FRONTENDS + key
        return self._of_frontend(self.moved.get(name, _NOTHING), self._cells(name))

    def backend(self, key: str, url: str) -> Pace:
        """Of one backend of a frontend, by its answers."""
        name = f"{_BACKENDS}{key}\0{url}"
        gone, after = self.moved.get(name, _NOTHING), self._cells(name)
        attempts, failed = _attempts(gone), gone[UNANSWERED] + gone[BAD] if gone else 0.0
        pace = self._pace(attempts, failed, gone[HEAD + 1 :], _attempts(after), _bad(after))
        return replace(pace, evidence=int(after[EVIDENCE])) if after else pace

    async def whole(self) -> Pace:
        """Of all frontends together, with what none matched; without the totals."""
        whole = _NOTHING
        async for name, gone in in_turns(self.moved.items()):
            if name.startswith(_FRONTENDS):
                whole = array("d", map(add, whole, gone)) if whole else gone
        return self._of_frontend(whole, _NOTHING)

    def total(self, key: str) -> float:
        """The requests of a frontend since the service started."""
        return requests_of(self._cells(_FRONTENDS + key))

    def moving(self) -> Iterator[str]:
        """Those of `names` that had requests in these seconds."""
        return _named(filter(_is_of_frontend, self.moved))

    def names(self) -> Iterator[str]:
        """The frontends that had requests and are counted by name."""
        return _named(self.after.blocks.of_kind(FRONTEND))

    async def busiest(self, most: int) -> list[str]:
        """The frontends with the most requests in these seconds, the busiest first."""
        return await self._most(slice(0, BYTES_IN), most)

    async def failing(self, most: int) -> list[str]:
        """Those with the most 5xx."""
        return await self._most(_FAILED, most)

    async def _most(self, part: slice, most: int) -> list[str]:
        counts = {
            key: sum(self.moved[_FRONTENDS + key][part]) async for key in in_turns(self.moving())
        }
        return nlargest(most, filter(counts.get, counts), key=counts.__getitem__)

    async def slowest(self, most: int) -> list[tuple[str, str]]:
        """Frontend and URL of the backends whose answers took longest, on average."""
        means: dict[tuple[str, str], float] = {}
        async for name, gone in in_turns(self.moved.items()):
            if name.startswith(_BACKENDS) and (count := sum(gone[HEAD + 1 :])):
                _, key, url = name.split("\0")
                if url and key != OTHER:
                    means[key, url] = gone[HEAD] / count
        return nlargest(most, means, key=means.__getitem__)

    def _of_frontend(self, gone: array[float], after: array[float]) -> Pace:
        return self._pace(
            requests_of(gone), sum(gone[_FAILED]), gone[DURATION + 1 :],
            requests_of(after), sum(after[_FAILED]),
        )  # fmt: skip

    def _cells(self, name: str) -> array[float]:
        return self.after.blocks.get(name, _NOTHING)

    def _pace(
        self, count: float, failed: float, buckets: array[float], total: float, errors: float
    ) -> Pace:
        whole = [int(each) for each in buckets]
        return Pace(
            count / self.seconds, failed / self.seconds,
            quantile(0.5, whole, self.bounds), quantile(0.99, whole, self.bounds),
            int(total), int(errors),
        )  # fmt: skip


async def looked_back(
    before: Sum, after: Sum, seconds: float, bounds: tuple[float, ...]
) -> Lookback:
    """What came between two sums. Other tasks run meanwhile: there may be thousands of sites."""
    moved: dict[str, array[float]] = {}
    async for name in in_turns(after.blocks.differing(before.blocks)):
        if name is not None and name.startswith((_FRONTENDS, _BACKENDS)) and name in after.blocks:
            then, now = before.blocks.get(name, _NOTHING), after.blocks[name]
            if then != now:
                moved[name] = _difference(then, now)
    return Lookback(after, moved, seconds, bounds)


def _is_of_frontend(name: str) -> bool:
    return name.startswith(_FRONTENDS)


def _named(blocks: Iterable[str]) -> Iterator[str]:
    """The frontends of these blocks, but for the others and for none."""
    return (name[len(_FRONTENDS) :] for name in blocks if name not in _NAMELESS)


_FRONTENDS, _BACKENDS = f"{FRONTEND}\0", f"{BACKEND}\0"
_NAMELESS = frozenset({_FRONTENDS, _FRONTENDS + OTHER})
_NOTHING: array[float] = array("d")


def _difference(before: array[float], after: array[float]) -> array[float]:
    """What came between. A service that was started anew counts from zero."""
    if not before:
        return after
    gone = array("d", map(sub, after, before))
    return after if min(gone) < 0 else gone


def _attempts(cells: array[float]) -> float:
    return cells[UNANSWERED] + sum(cells[HEAD + 1 :]) if cells else 0.0


def _bad(cells: array[float]) -> float:
    return cells[UNANSWERED] + cells[BAD] if cells else 0.0


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
                self._last = await looked_back(before, after, now - then, bounds)
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
