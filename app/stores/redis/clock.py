"""How far the store's clock is from ours: times in the store go by the store's clock.

Then a machine whose clock is wrong writes marks that end in time for everybody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from redis.exceptions import RedisError, ResponseError

from .connections import StoreLink

logger = logging.getLogger(__name__)

CLOCK_EVERY = 30.0
"""Seconds between two looks at the store's clock: either may be set meanwhile."""
CLOCK_WITHIN = 1.0
NOTICED = 0.5
"""Seconds of difference below which the clocks count as equal: a trip takes time, too."""
WARNED = 2.0
"""Seconds of difference that are told in the log."""


class StoreClock:
    """The clock of the server that takes the writes, as seen from here."""

    def __init__(self, connections: StoreLink, here: Callable[[], float] = time.time) -> None:
        """`here` gives our own time, in Unix seconds."""
        self.here = here
        self.ahead = 0.0
        """Seconds by which the store's clock is ahead of ours; 0 where it does not tell."""
        self.asked = False
        self._connections = connections

    def there(self) -> float:
        """The time by the store's clock."""
        return self.here() + self.ahead

    async def run(self, changed: Callable[[], None]) -> None:
        """Look again and again, until cancelled or refused. `changed` is called when what was
        read by the old difference is wrong now."""
        while True:
            before = self.ahead
            try:
                await self.measure()
            except ResponseError as exc:
                logger.debug("store does not tell the time cause=%s", exc)
                return
            if abs(self.ahead - before) > NOTICED:
                if abs(self.ahead) >= WARNED:
                    logger.warning(
                        "clocks differ: the store's is %.0f s %s ours",
                        abs(self.ahead), "ahead of" if self.ahead > 0 else "behind",
                    )  # fmt: skip
                changed()
            await asyncio.sleep(CLOCK_EVERY)

    async def measure(self) -> None:
        """Ask now; a store that does not answer leaves what was known. Raises ResponseError."""
        self.asked = True
        before = self.here()
        try:
            async with asyncio.timeout(CLOCK_WITHIN):
                (answer,) = await self._connections.ask([("TIME",)])
        except (RedisError, OSError):
            return
        if isinstance(answer, ResponseError):
            raise answer
        seconds, microseconds = answer
        theirs = int(seconds) + int(microseconds) / 1e6
        self.ahead = noticed(theirs - (before + self.here()) / 2)


def noticed(ahead: float) -> float:
    """A difference of clocks, 0 where it may as well be the time of the trip."""
    return ahead if abs(ahead) > NOTICED else 0.0
