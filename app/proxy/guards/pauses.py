"""Requests that wait while their site is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...errors import Overloaded, UnderMaintenance

MAX_WAITING = 1_000
"""Requests of one worker that wait: each has a connection and its memory."""
LOOK_EVERY = 0.1
"""Seconds between two looks at the route, which is in this worker's memory."""


class Pauses:
    """Those of one worker."""

    def __init__(self) -> None:
        self._waiting = 0

    async def wait(self, is_paused: Callable[[], Awaitable[bool]], longest: int) -> None:
        """Wait until the site goes on.

        Raises UnderMaintenance after `longest` seconds, Overloaded if too many wait, and what
        `is_paused` raises.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded("too many requests wait for paused sites")
        self._waiting += 1
        try:
            async with asyncio.timeout(longest):
                while await is_paused():  # noqa: ASYNC110 - there is no event: routes just change
                    await asyncio.sleep(LOOK_EVERY)
        except TimeoutError:
            raise UnderMaintenance("this site is paused", longest) from None
        finally:
            self._waiting -= 1
