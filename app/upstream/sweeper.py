"""The one timer behind the timeouts of many connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Sweeper:
    """Calls `sweep(now)` every `step` seconds for as long as that returns True."""

    def __init__(self, step: float, sweep: Callable[[float], bool]) -> None:
        self._step = step
        self._sweep = sweep
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, unless it runs already."""
        if self._timer is None:
            self._wait(asyncio.get_running_loop())

    def stop(self) -> None:
        """Sweep no more, until `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + self._step
        self._timer = loop.call_at(due, self._run, loop, due)

    def _run(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        # Late, because the event loop was held up: what backends have sent meanwhile may not have
        # been read yet (uvloop runs timers before it reads), so this time nothing is judged.
        late = now - due >= self._step
        if late or self._sweep(now):
            self._wait(loop)
        else:
            self._timer = None
