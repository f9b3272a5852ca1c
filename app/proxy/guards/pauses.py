"""Requests that wait while their site is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from ...errors import Overloaded, UnderMaintenance

MAX_WAITING = 1_000
"""Requests of one worker that wait: each has a connection and its memory."""
LOOK_EVERY = 1.0
"""Seconds after which a route is looked at in any case: a store may not tell of its changes."""
LOOKS_APART = 0.05
"""Seconds between two looks of one request: any change of the store makes all of them look."""


class Pauses:
    """Those of one worker."""

    def __init__(self, changed: Callable[[], Awaitable[None]]) -> None:
        """`changed` waits until a route may have changed."""
        self._changed = changed
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
                while await is_paused():
                    await self._next_look()
        except TimeoutError:
            raise UnderMaintenance("this site is paused", longest) from None
        finally:
            self._waiting -= 1

    async def _next_look(self) -> None:
        began = monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._changed()
        if (early := began + LOOKS_APART - monotonic()) > 0:
            await asyncio.sleep(early)
