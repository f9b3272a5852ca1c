"""Tells those who wait for certificates when theirs has come, or when it will not: one look at the
store for all names that the clients of a worker wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import uniform

from ...errors import StoreUnavailable
from ...stores.issuance import IssuanceState, IssuanceStore, Progress
from ..certificates import wildcard

LOOK_EVERY = 0.25
"""Seconds between two looks at a store that does not report changes."""
LOOK_ANYWAY = 1.0
"""The same where it does."""
APART = 0.1
"""Seconds between two looks, whatever is reported."""
LISTEN_ON = 10.0
"""Seconds for which changes are heard of after the last one stopped waiting."""


class Arrivals:
    """One worker's; it hears of changes while somebody waits (stores.issuance.IssuanceListener)."""

    def __init__(self, store: IssuanceStore) -> None:
        self._store = store
        self._waiting: dict[str, _Waiting] = {}
        self._arrived: set[str] = set()  # of these, what the store has
        self._rung = asyncio.Event()
        self._tracked = False
        self._looking = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(
        self, name: str, has: Callable[[str], bool], before: IssuanceState | None, seconds: float
    ) -> bool:
        """Whether there is something new of `name`: `has` has its certificate, or its state in the
        store is not `before`. False: neither, for so many seconds.

        A name is waited for once at a time. Raises StoreUnavailable.
        """
        waiting = self._waiting[name] = _Waiting(has, before)
        self._begin()
        try:
            async with asyncio.timeout(seconds):
                await waiting.over
            return True
        except TimeoutError:
            return has(name)
        finally:
            del self._waiting[name]
            self._arrived.discard(name)

    async def aclose(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # From the store.

    def tracking(self) -> None:
        """Every change is reported."""
        self._tracked = True
        self._rung.set()

    def lost(self, reason: str) -> None:
        """No change is reported."""
        self._tracked = False

    def changed(self, names: Sequence[str] | None) -> None:
        """The certificates of these names changed."""
        for name in self._waiting:
            if names is None or name in names or wildcard(name) in names:
                self._arrived.add(name)
                self._rung.set()

    def wished(self) -> None:
        """A wish came, or went with its success or failure."""
        self._rung.set()

    # The looks.

    def _begin(self) -> None:
        if not self._looking:
            self._looking = True
            task = asyncio.create_task(self._run(), name="acme arrivals")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        listening = asyncio.create_task(self._listen(), name="acme changes")
        try:
            await self._look_on()
        finally:
            self._looking = self._tracked = False
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self) -> None:
        with suppress(StoreUnavailable):  # then it is looked at often
            await self._store.watch(self)

    async def _look_on(self) -> None:
        """Until nobody has waited for LISTEN_ON."""
        waited, loop = 0.0, asyncio.get_running_loop()
        while self._waiting or loop.time() < waited + LISTEN_ON:
            self._rung.clear()
            if self._waiting:
                await self._look()
                waited = loop.time()
            await asyncio.sleep(_spread(APART))
            pause = APART if self._arrived else LOOK_ANYWAY if self._tracked else LOOK_EVERY
            with suppress(TimeoutError):
                async with asyncio.timeout(_spread(pause)):
                    await self._rung.wait()

    async def _look(self) -> None:
        found: dict[str, Progress] = {}
        if names := list(self._waiting.keys() - self._arrived):
            with suppress(StoreUnavailable):  # it may come back in time
                found = await self._store.progress_of(names)
        for name, waiting in self._waiting.items():
            there, state = found.get(name, (name in self._arrived, waiting.before))
            if there:
                self._arrived.add(name)
                if waiting.has(name):
                    waiting.end()
            elif state is not None and state != waiting.before:
                waiting.end()


class _Waiting:
    __slots__ = ("before", "has", "over")

    def __init__(self, has: Callable[[str], bool], before: IssuanceState | None) -> None:
        self.has, self.before = has, before
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


def _spread(seconds: float) -> float:
    """Not all workers of a fleet look at the same time."""
    return uniform(0.5, 1.5) * seconds
