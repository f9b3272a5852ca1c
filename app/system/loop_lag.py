"""How late the event loop runs: how long a request waits before anything handles it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MEASURE_EVERY = 0.05
"""Seconds between two measurements. One costs 3 us."""
HALF_LIFE = 0.5
"""Seconds after which a past stall counts half."""


class LoopLag:
    """Measures how late a timer fires. `now` and `peak` are seconds.

    `now` is the last measurement, which is mostly noise. `peak` is the largest recent
    one, halved every HALF_LIFE. Decisions should use it, because a loop that stalled
    will stall again. `due` is the time of the next measurement, on the loop's clock.
    """

    __slots__ = (
        "_decay", "_interval", "_loop", "_on_measured", "_timer", "_worst", "due", "now", "peak",
    )  # fmt: skip

    def __init__(
        self, interval: float = MEASURE_EVERY, on_measured: Callable[[float], None] | None = None
    ) -> None:
        """`on_measured` is called with each measurement, in seconds."""
        self._on_measured = on_measured
        self._interval = interval
        self._decay = 0.5 ** (interval / HALF_LIFE)
        self._worst = self.now = self.peak = 0.0

    def __enter__(self) -> LoopLag:
        """Start to measure; needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self.due = self._loop.time() + self._interval
        self._timer = self._loop.call_at(self.due, self._measure)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def take_worst(self) -> float:
        """The largest measurement since the last call."""
        worst, self._worst = self._worst, 0.0
        return worst

    def _measure(self) -> None:
        time = self._loop.time()
        self.now = late = max(0.0, time - self.due)
        self._worst = max(self._worst, late)
        # The peak decays once per measurement, so it does not decay during a stall.
        self.peak = max(late, self.peak * self._decay)
        self.due = time + self._interval
        self._timer = self._loop.call_at(self.due, self._measure)
        if self._on_measured is not None:
            self._on_measured(late)
