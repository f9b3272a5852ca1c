"""Notes in the store which frontends were used: what asks for idle ones reads it there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from ..errors import StoreUnavailable
from ..stores.routes import Routes
from ..stores.uses import UseRecords
from ..system.background import Background
from ..system.turns import in_turns

logger = logging.getLogger(__name__)

NOTE_EVERY = 30.0
"""Seconds between two notes of a worker: a time of last use is as exact."""
PRUNE_EVERY = 3600.0
"""Seconds after which one worker of all forgets what is gone."""
LAST_NOTE = 1.0
"""Seconds that a worker that ends has for its last note."""

Busy = Callable[[], Iterable[tuple[str, int]]]


@asynccontextmanager
async def noting_uses(routes: Routes, busy: Busy) -> AsyncIterator[None]:
    """Note them while this is open. `busy`: requests in flight by the backends' URLs, for those
    that last long."""
    if (records := routes.uses) is None:
        yield
        return
    noting = UseNoting(routes, records, busy)
    background = Background(lambda reason: None)
    background.spawn(noting.run(), "noting of uses")
    try:
        yield
    finally:
        await background.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_NOTE):
                await noting.note()


class UseNoting:
    """What one worker has seen and not noted yet."""

    def __init__(self, routes: Routes, records: UseRecords, busy: Busy) -> None:
        self._routes = routes
        self._records = records
        self._busy = busy
        self._unwritten: set[str] = set()
        self._refused = False

    async def run(self) -> None:
        """Note now and then, until cancelled."""
        while True:
            await self.note()
            await asyncio.sleep(NOTE_EVERY)

    async def note(self) -> None:
        """What the store does not take is noted the next time."""
        busy = {url for url, count in self._busy() if count}
        async for key in in_turns(self._routes.take_used(busy)):
            self._unwritten.add(key)
        try:
            await self._records.note(self._unwritten)
            self._unwritten.clear()
            leases = self._routes.leases
            if leases is not None and await leases.claim("prune-uses", PRUNE_EVERY):
                await self._records.prune()
        except StoreUnavailable as exc:  # its outage is told elsewhere
            level = logging.DEBUG if self._refused or self._routes.away else logging.INFO
            self._refused = True
            logger.log(level, "uses of frontends not noted cause=%s", exc)
