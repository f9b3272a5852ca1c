"""How late the event loop is: what a request waits before anybody looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL = 0.05
"""Seconds between two looks. One costs 3 us."""
HALF_LIFE = 0.5
"""Seconds after which a stall that is over counts half."""


class LoopLag:
    """Measures how late a timer fires. `now` and `peak` are seconds.

    `now` is the last look's lateness: noise, mostly. `peak` is the largest of
    late, halved every HALF_LIFE: what a decision should go by, for a loop that
    stalls does so again. `due` is when the next look is planned, on the loop's clock.
    """

    __slots__ = (
        "_decay", "_interval", "_loop", "_tell", "_timer", "_worst", "due", "now", "peak",
    )  # fmt: skip

    def __init__(
        self, interval: float = INTERVAL, tell: Callable[[float], None] | None = None
    ) -> None:
        """`tell` hears each look's lateness, in seconds."""
        self._tell = tell
        self._interval = interval
        self._decay = 0.5 ** (interval / HALF_LIFE)
        self._worst = self.now = self.peak = 0.0

    def __enter__(self) -> LoopLag:
        """Look from now on; needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self.due = self._loop.time() + self._interval
        self._timer = self._loop.call_at(self.due, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def take_worst(self) -> float:
        """The largest since this was asked last: no stall is missed between two questions."""
        worst, self._worst = self._worst, 0.0
        return worst

    def _look(self) -> None:
        time = self._loop.time()
        self.now = late = max(0.0, time - self.due)
        self._worst = max(self._worst, late)
        # A long stall counts as the looks that it swallowed: it has not decayed meanwhile.
        self.peak = max(late, self.peak * self._decay)
        self.due = time + self._interval
        self._timer = self._loop.call_at(self.due, self._look)
        if self._tell is not None:
            self._tell(late)
