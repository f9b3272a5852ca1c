"""Tells those who wait that a route may have changed."""

from __future__ import annotations

import asyncio


class ChangeBell:
    """Costs a look at an attribute while nobody waits."""

    def __init__(self) -> None:
        self._rung: asyncio.Event | None = None

    def ring(self) -> None:
        """Something changed."""
        if self._rung is not None:
            self._rung.set()
            self._rung = None

    async def wait(self) -> None:
        """Until the next change."""
        if self._rung is None:
            self._rung = asyncio.Event()
        await self._rung.wait()
