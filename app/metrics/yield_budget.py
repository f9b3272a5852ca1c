"""Long calculations that let the other tasks of the event loop run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

BUDGET = 0.0005
"""Seconds of work between two yields to the event loop."""


class YieldBudget:
    """How long a long calculation may run before it lets other tasks run."""

    def __init__(self) -> None:
        self._began = perf_counter()

    @property
    def is_spent(self) -> bool:
        """Whether other tasks should run now."""
        return perf_counter() - self._began > BUDGET

    async def yield_if_spent(self) -> None:
        """Let other tasks run if the budget is spent. Call this after each piece of work."""
        if self.is_spent:
            await asyncio.sleep(0)
            self._began = perf_counter()


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items one after the other; other tasks run whenever the budget is spent."""
    budget = YieldBudget()
    for item in items:
        yield item
        await budget.yield_if_spent()
