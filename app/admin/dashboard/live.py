"""Server-sent events: an open page is told its changing part whenever that has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ...system.turns import next_turn
from .desk import Desk
from .pace import Lookback
from .rendering import render
from .views import Context, View

EVERY = 2.0
"""Seconds between two looks."""
RETRY = 3000
"""Milliseconds after which a browser that was cut off asks again."""
MAX_OPEN = 50
"""Pages that one worker keeps up to date. The others show what was when they were loaded."""


class LivePages:
    """The open pages of one worker."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open = 0
        self._shared: dict[str, tuple[Lookback, Context]] = {}
        self._finding = asyncio.Lock()

    @property
    def full(self) -> bool:
        """No more pages can be kept up to date."""
        return self._open >= MAX_OPEN

    async def follow(self, view: View, extra: dict[str, object]) -> AsyncIterator[bytes]:
        """Events for one page, without end. `extra` is what the template needs besides."""
        self._open += 1
        try:
            yield f"retry: {RETRY}\n\n".encode()
            last = ""
            while True:
                window = await self._desk.pacer.window()
                await next_turn()  # all pages have waited for this window
                context = await self._context(view, window)
                text = await render(view.template, {**context, **extra, "fragment": True})
                yield b": nothing new\n\n" if text == last else _event(text)
                last = text
                await asyncio.sleep(EVERY)
        finally:
            self._open -= 1

    async def _context(self, view: View, window: Lookback) -> Context:
        """Found once for all who look at the same page."""
        if not view.shared:
            return await view.context(self._desk, window)
        async with self._finding:  # others who want it now wait for the one that finds it
            known = self._shared.get(view.template)
            if known is None or known[0] is not window:
                known = window, await view.context(self._desk, window)
                self._shared[view.template] = known
            return known[1]


def _event(text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.replace("\r", "").split("\n"))
    return f"{lines}\n".encode()
