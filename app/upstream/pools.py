"""The pools of all origins that are in use, and the one timer that sweeps them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator

from .destinations import Destinations
from .dialling import Origin
from .limits import PoolLimits
from .pool import Pool


class Pools:
    """The pools of all origins in use, and the one timer that serves them."""

    def __init__(
        self,
        limits: PoolLimits,
        tls: Callable[[], ssl.SSLContext],
        destinations: Destinations | None = None,
    ) -> None:
        self._destinations = destinations
        self.limits = limits
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.on_waited: Callable[[float], None] = lambda seconds: None

    def of(self, origin: Origin) -> Pool:
        """The pool of `origin`, made when first asked for and forgotten when not in use."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(
                origin, self.limits, self._tls, self._forget, self._destinations
            )
            pool.on_waited = self.on_waited
            if self._timer is None:
                self._next_sweep()
        return pool

    def find(self, origin: Origin) -> Pool | None:
        """The pool of `origin`, if that is in use."""
        return self._pools.get(origin)

    def __iter__(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    def close(self) -> None:
        """Close every connection."""
        for pool in self:
            pool.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self, origin: Origin) -> None:
        self._pools.pop(origin, None)

    def _next_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.limits.step
        self._timer = loop.call_at(due, self._sweep, loop, due) if self._pools else None

    def _sweep(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        # Late, because the event loop was held up: what backends have sent meanwhile may not have
        # been read yet (uvloop runs timers before it reads), so nobody is judged this time.
        if now - due < self.limits.step:
            for pool in self:
                pool.sweep(now)
        self._next_sweep()
