"""How far a request that takes long to send has come."""

from __future__ import annotations

import asyncio

from ..system import kernel
from .backend_stream import NEVER

WATCHED_FROM = 65536
"""Bytes of a request above which its sending is watched, as it may take long."""


class Sending:
    """One request on its way. While it moves, no timeout runs."""

    __slots__ = ("_since", "_transport", "_unsent")

    def __init__(self, transport: asyncio.Transport, now: float) -> None:
        self._transport = transport
        self._unsent = NEVER
        self._since = now

    def silence(self, now: float) -> float | None:
        """Seconds since the backend last took a byte; None once it has all of them."""
        unsent = kernel.unacknowledged(self._transport)
        if unsent == 0:
            return None
        if unsent < self._unsent:
            self._unsent, self._since = unsent, now
        return now - self._since
