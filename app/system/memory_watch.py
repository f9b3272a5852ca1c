"""Counts a worker's requests, and has the worker replaced when it uses too much memory.

Hipache checked once a minute, and replaced a worker only after it had ended
(hipache.md 1.8). Here a fresh worker takes over first, if a supervisor can start one.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import tracemalloc
from collections.abc import Awaitable, Callable
from time import monotonic

import psutil
from starlette.types import ASGIApp, Receive, Scope, Send

from ..config.memory import MemoryConfig

logger = logging.getLogger("hipache.memory")

MIB = 1 << 20
GLANCE_EVERY = 32
"""Requests between two glances: they notice a fast leak before the next regular look."""
LOOKS_APART = 1.0
"""Minimum seconds between two looks that glances ask for: each may collect garbage."""
TRACED_SITES = 10

Recycle = Callable[[str], None]


class Counts:
    """The requests of one worker since it started."""

    __slots__ = ("glance", "requests", "web_sockets")

    def __init__(self) -> None:
        self.requests = 0
        self.web_sockets = 0
        self.glance: Callable[[], None] = lambda: None
        """Called every GLANCE_EVERY requests."""

    def request(self) -> None:
        """Count one request; call `glance` after every GLANCE_EVERY."""
        self.requests += 1
        if not self.requests % GLANCE_EVERY:
            self.glance()


class Counting:
    """The ASGI middleware that counts.

    It adds no coroutine of its own to the call: that alone would cost more
    than the counting.
    """

    __slots__ = ("_app", "_counts")

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        counts, kind = self._counts, scope["type"]
        if kind == "http":
            counts.request()
        elif kind == "websocket":
            counts.web_sockets += 1
        return self._app(scope, receive, send)


class MemoryWatch:
    """Watches one worker. `recycle(why)` asks for a replacement; None if nobody can start one."""

    def __init__(
        self,
        config: MemoryConfig,
        counts: Counts,
        recycle: Recycle | None = None,
        *,
        connections: Callable[[], int] = lambda: 0,
        rss: Callable[[], int] | None = None,
    ) -> None:
        """`connections` counts the open ones; `rss` (bytes) is this process's by default."""
        self._config = config
        self._counts = counts
        self._limit = config.limit * MIB
        self._recycle = recycle
        self._connections = connections
        self._rss = rss or _own_rss
        self._started_at = self._last_look = monotonic()
        self._look_now = asyncio.Event()
        self._over = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> MemoryWatch:
        """Look from now on, every `checkInterval` and when a glance asks for it."""
        if self._limit:
            self._start()
        return self

    def _start(self) -> None:
        if self._config.trace:
            tracemalloc.start()
        fresh = self._rss()
        if fresh >= self._limit:
            logger.error(
                "memory limit below what a fresh worker needs limit=%dMB rss=%dMB: "
                "recycling would not help, watching for twice as much",
                self._limit // MIB, fresh // MIB,
            )  # fmt: skip
            self._limit = 2 * fresh
        self._task = asyncio.create_task(self._watch(), name="memory watch")
        self._counts.glance = self.glance

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    def glance(self) -> None:
        """Ask for a look if the peak memory exceeds the limit; costs a microsecond.

        The peak never falls, so after a spike every glance asks. LOOKS_APART
        bounds the cost.
        """
        if self._task is None or self._over or self._peak() < self._limit:
            return
        if monotonic() - self._last_look >= LOOKS_APART:
            self._look_now.set()

    @staticmethod
    def _peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # KB on Linux

    async def _watch(self) -> None:
        interval = self._config.check_interval or None
        while True:
            try:
                async with asyncio.timeout(interval):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            self.look()
            self._last_look = monotonic()

    def look(self) -> None:
        """Compare memory with the limit; above it, report it and ask for a replacement."""
        before = self._rss()
        if before < self._limit:
            self._over = False
            return
        gc.collect()
        rss = self._rss()
        if rss < self._limit:
            logger.info("memory freed rss=%dMB was=%dMB", rss // MIB, before // MIB)
            self._over = False
            return
        if self._over:
            return  # reported already, and a replacement is on its way
        self._over = True
        self._report(rss)
        if self._recycle is not None:
            self._recycle("memory")

    def _report(self, rss: int) -> None:
        """Log the same facts as Hipache's `Exceeded memory report`."""
        counts = self._counts
        logger.warning(
            "memory over its limit rss=%dMB limit=%dMB uptime=%.0fmin requests=%d "
            "websockets=%d connections=%d action=%s",
            rss // MIB, self._limit // MIB, (monotonic() - self._started_at) / 60, counts.requests,
            counts.web_sockets, self._connections(), "recycle" if self._recycle else "none",
        )  # fmt: skip
        if not tracemalloc.is_tracing():
            return
        for site in tracemalloc.take_snapshot().statistics("lineno")[:TRACED_SITES]:
            frame = site.traceback[0]
            logger.warning(
                "memory site=%s:%d size=%.1fMB blocks=%d",
                frame.filename, frame.lineno, site.size / MIB, site.count,
            )  # fmt: skip


def _own_rss() -> int:
    rss: int = psutil.Process().memory_info().rss
    return rss
