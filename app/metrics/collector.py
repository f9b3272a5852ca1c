"""Writes states, and the totals that other modules keep, into the worker's page once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import psutil

from ..system.loop_lag import LoopLag
from .counters import Counters

INTERVAL = 1.0


class Collector:
    """An asynchronous context; at its end the worker's last numbers are in its page."""

    def __init__(
        self,
        counters: Counters,
        lag: LoopLag,
        *,
        gauges: Mapping[str, Callable[[], float]],
        totals: Mapping[str, Callable[[], float]],
        busy: Callable[[], Iterable[tuple[str, int]]],
    ) -> None:
        """`gauges` and `totals` by the names of `families`; `busy`: in flight by backend's URL."""
        self._counters = counters
        self._lag = lag
        self._gauges = gauges
        self._totals = totals
        self._busy = busy
        self._shown: set[str] = set()
        self._process = psutil.Process()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Collector:
        self._counters.gauge("started", time.time())
        self.collect()
        self._task = asyncio.create_task(self._collect_for_ever(), name="metrics")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self.collect()
        self._counters.gauge("ended", 1)

    async def _collect_for_ever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self.collect()

    def collect(self) -> None:
        """Write all of them now."""
        counters = self._counters
        counters.gauge("memory", self._process.memory_info().rss)
        counters.gauge("lag", self._lag.take_worst())
        for name, value in self._gauges.items():
            counters.gauge(name, value())
        for name, value in self._totals.items():
            counters.total(name, value())
        busy = {url: count for url, count in self._busy() if count}
        for url in self._shown - busy.keys():
            counters.gauge("backend_in_flight", 0, url)
        for url, count in busy.items():
            counters.gauge("backend_in_flight", count, url)
        self._shown = set(busy)
