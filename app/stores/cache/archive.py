"""Saves a worker's memory to the snapshot now and then; restores it while the store is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator
from typing import TypeVar

from ...system.turns import in_turns, run_in_turns
from .route_cache import RouteCache
from .snapshot import Snapshot

logger = logging.getLogger(__name__)

T = TypeVar("T")

WRITE_EVERY = 5.0
"""Seconds between two writings of one worker, at least."""
SHARE_OF_TIME = 0.02
"""The share of its time that a worker spends on writing, at most."""
RESTORE_EVERY = 60.0
"""Seconds for which a reading of the snapshot counts."""


class Archive:
    """One worker's share in the snapshot."""

    def __init__(
        self, snapshot: Snapshot, memory: RouteCache, *, every: float = WRITE_EVERY
    ) -> None:
        """`every`: seconds between two writings."""
        self._snapshot = snapshot
        self._memory = memory
        self._every = every
        self._written = 0
        self.cost = 0.0
        """Seconds of the event loop that the last writing took."""
        self._born = time.monotonic()
        self._failing = False
        self._restoring: asyncio.Task[None] | None = None
        self._restored = -RESTORE_EVERY

    async def write_for_ever(self) -> None:
        """Write what changed, until cancelled."""
        pause = self._every
        while True:
            await asyncio.sleep(pause)
            self.cost = 0.0
            await self._write()
            pause = max(self._every, self.cost / SHARE_OF_TIME)

    async def aclose(self) -> None:
        """Write a last time, unless this worker has lived too briefly to know much."""
        if self._restoring is not None:
            self._restoring.cancel()
        if time.monotonic() - self._born >= self._every:
            await self._write()

    async def _write(self) -> None:
        snapshot, memory = self._snapshot, self._memory
        changes, known = memory.changes, memory.fresh()
        if changes == self._written or not known:
            return
        try:
            with snapshot.alone() as alone:
                if not alone:
                    return  # another worker writes; our turn comes again
                lines = await asyncio.to_thread(snapshot.read)
                merging = snapshot.merge(lines, known, memory.absent())
                merged = await run_in_turns(self._timed(merging))
                await asyncio.to_thread(snapshot.replace, merged)
            self._written, self._failing = changes, False
        except OSError as exc:
            if not self._failing:
                logger.error("snapshot not written cause=%s", exc)
            self._failing = True

    def _timed(self, steps: Generator[None, None, T]) -> Generator[None, None, T]:
        """The same steps. Only what they take counts: others have their turn in between."""
        while True:
            began = time.thread_time()
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            finally:
                self.cost += time.thread_time() - began
            yield

    async def restore(self, *, afresh: bool = False) -> bool:
        """Remember what the snapshot knows besides. Returns whether any route is known now.

        All who ask share one reading; without `afresh` it counts for RESTORE_EVERY.
        """
        now, task = time.monotonic(), self._restoring
        if task is None or (task.done() and (afresh or now - self._restored >= RESTORE_EVERY)):
            self._restored = now
            task = self._restoring = asyncio.create_task(self._restore(), name="store snapshot")
        await asyncio.shield(task)
        return len(self._memory) > 0

    async def _restore(self) -> None:
        try:
            lines = await asyncio.to_thread(self._snapshot.read)
        except OSError as exc:
            logger.warning("snapshot unreadable file=%s cause=%s", self._snapshot.path, exc)
            lines = []
        hosts = await run_in_turns(self._snapshot.parse(lines))
        async for host, frontend in in_turns(hosts.items()):
            self._memory.restore(host, frontend)
        if hosts:
            logger.info("snapshot read hosts=%d kept=%d", len(hosts), len(self._memory))
