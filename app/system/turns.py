"""Long calculations that let the other tasks of the event loop run.

Were ten of them each to run for BUDGET whenever the loop comes round, requests would wait for
ten times BUDGET. So they queue: between two looks at its sockets the loop lets one of them run.
In a loop that is busy with requests that is seldom; a turn is longer there, so that calculations
get a SHARE of the loop in any case, and end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

BUDGET = 0.0001
"""Seconds of work between two yields to the event loop, at least. A yield costs about 5 us."""
SHARE, LONGEST = 0.25, 0.002
"""The share of the time since the last turn that a turn may take, and seconds at most."""

_Turn = asyncio.Future[None]


class _Queue(deque[_Turn]):
    """The calculations of a loop that wait for their turn, the longest-waiting first."""

    left = 0.0
    """When the last turn ended."""


_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()


class YieldBudget:
    """How long a long calculation may run before it lets other tasks run."""

    def __init__(self) -> None:
        self._began, self._budget = perf_counter(), BUDGET

    @property
    def is_spent(self) -> bool:
        """Whether other tasks should run now."""
        return perf_counter() - self._began > self._budget

    async def yield_if_spent(self) -> None:
        """Let other tasks run if the budget is spent. Call this after each piece of work."""
        if self.is_spent:
            self._budget = await next_turn()
            self._began = perf_counter()


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items one after the other; other tasks run whenever the budget is spent."""
    began, budget = perf_counter(), BUDGET
    for item in items:
        yield item
        if perf_counter() - began > budget:
            budget = await next_turn()
            began = perf_counter()


def run_at_once(steps: Generator[None, None, T]) -> T:
    """What a generator returns; nothing else runs meanwhile."""
    returned: list[T] = []
    for _ in _noting(steps, returned):
        pass
    return returned[0]


async def run_in_turns(steps: Generator[None, None, T]) -> T:
    """What a generator returns; other tasks run between its steps, when the budget is spent."""
    returned: list[T] = []
    async for _ in in_turns(_noting(steps, returned)):
        pass
    return returned[0]


def _noting(steps: Generator[None, None, T], returned: list[T]) -> Generator[None, None, None]:
    """The same steps; what they return is added to `returned`."""
    returned.append((yield from steps))


async def next_turn() -> float:
    """Wait until the loop has looked at its sockets, and others that waited have had their turn.

    Returns for how many seconds the caller may run then.
    """
    loop = asyncio.get_running_loop()
    queue = _waiting.setdefault(loop, _Queue())
    queue.left = perf_counter()
    turn: _Turn = loop.create_future()
    queue.append(turn)
    if len(queue) == 1:
        loop.call_soon(_let_next, loop, queue)
    await turn
    return max(BUDGET, min(LONGEST, SHARE * (perf_counter() - queue.left)))


def _let_next(loop: asyncio.AbstractEventLoop, queue: _Queue) -> None:
    """Wake the first that still waits; its task runs when the loop comes round again."""
    while queue:
        turn = queue.popleft()
        if not turn.done():
            turn.set_result(None)
            break
    if queue:
        loop.call_soon(_let_next, loop, queue)
