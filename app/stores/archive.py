"""Brings a worker's memory to the snapshot now and then, and back when the store is away."""

from __future__ import annotations

import asyncio
import logging
import time

from app.stores.memory import Memory
from app.stores.snapshot import Snapshot

logger = logging.getLogger(__name__)

WRITE_EVERY = 5.0
"""Seconds between two writings of one worker, at least."""
SHARE_OF_TIME = 0.02
"""Of its time a worker spends no more than this on writing."""
AT_ONCE = 500
"""Hosts that are restored before others get their turn."""


class Archive:
    """One worker's share in the snapshot."""

    def __init__(self, snapshot: Snapshot, memory: Memory, *, every: float = WRITE_EVERY) -> None:
        """`every`: seconds between two writings."""
        self._snapshot = snapshot
        self._memory = memory
        self._every = every
        self._written = 0
        self._born = time.monotonic()
        self._failing = False

    async def write_for_ever(self) -> None:
        """Write what changed, until cancelled."""
        pause = self._every
        while True:
            await asyncio.sleep(pause)
            started = time.monotonic()
            await self._write()
            pause = max(self._every, (time.monotonic() - started) / SHARE_OF_TIME)

    async def aclose(self) -> None:
        """Write a last time. A worker that hardly lived knows nothing that is worth it."""
        if time.monotonic() - self._born >= self._every:
            await self._write()

    async def _write(self) -> None:
        changes, known = self._memory.changes, self._memory.fresh()
        if changes == self._written or not known:
            return
        try:
            await asyncio.to_thread(self._snapshot.write, known, self._memory.absent())
            self._written, self._failing = changes, False
        except OSError as exc:
            if not self._failing:
                logger.error("snapshot not written cause=%s", exc)
            self._failing = True

    async def restore(self) -> bool:
        """Remember what the snapshot knows besides. Is there anything to serve now?"""
        hosts = await asyncio.to_thread(self._snapshot.load)
        for number, (host, frontend) in enumerate(hosts.items(), 1):
            self._memory.restore(host, frontend)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        if hosts:
            logger.info("snapshot read hosts=%d kept=%d", len(hosts), len(self._memory))
        return len(self._memory) > 0
