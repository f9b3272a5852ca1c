"""A follower's end: it hears what the listening worker tells, and how long that is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import msgspec

from ..tracking import PING_AFTER, PONG_WITHIN
from .tracking_news import TrackingNews, frames_in

TRUSTED = PING_AFTER + PONG_WITHIN + 0.5
"""Seconds for which a frame may be believed: by then the listening worker has noticed that Redis
is silent and has told so. Below the 3 s that a cache may be blind."""
SILENT_AFTER = PING_AFTER + PONG_WITHIN
"""Seconds without a frame after which the listening worker counts as stopped: as many as are left
to a Redis that says nothing."""
FIRST_WORD_WITHIN = 1.0
"""Seconds until a listening worker that stands still is noticed by one that has just come."""
LAST_LOOK = 0.05
"""Seconds for what has come while this worker itself stood still."""


class Following(asyncio.Protocol):
    """One connection to the listening worker."""

    def __init__(self, hear: Callable[[TrackingNews], None], heard: Callable[[], None]) -> None:
        """`hear` gets the news, `heard` is called after each frame."""
        self._hear, self._heard = hear, heard
        loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        """The first frame has been heard, or nothing will come."""
        self.ended: asyncio.Future[str] = loop.create_future()
        """Why nothing more may be believed; empty for a listening worker that left."""
        self.silent = False
        """It ended since the listening worker stands still, or Redis does and nobody says so."""
        self._buffer = bytearray()
        self._until = monotonic() + FIRST_WORD_WITHIN
        self._timer = loop.call_later(FIRST_WORD_WITHIN, self._look)
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The kernel has connected; the listening worker may not know it yet."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hear all frames that are complete."""
        self._buffer += data
        try:
            for frame in frames_in(self._buffer):
                self._until = min(frame.as_of + TRUSTED, monotonic() + SILENT_AFTER)
                for news in frame.news:
                    self._hear(news)
                self._heard()
                self.begun.set()
        except msgspec.DecodeError as exc:
            self._end(f"the listening worker is not understood: {exc}")

    def connection_lost(self, exc: Exception | None) -> None:
        """It left, or cut us off since we were too slow: then another one is found at once."""
        self._end("")

    def _look(self) -> None:
        left = self._until - monotonic()
        later = asyncio.get_running_loop().call_later
        if left > 0:
            self._timer = later(left, self._look)
        else:
            self._timer = later(LAST_LOOK, self._last_look)

    def _last_look(self) -> None:
        if self._until > monotonic():
            self._look()
        else:
            self.silent = True
            self._end("the listening worker is silent")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
        self.begun.set()
        self.close()

    def close(self) -> None:
        """Hear nothing more."""
        self._timer.cancel()
        self._hear, self._heard = lambda news: None, lambda: None
        if self._transport is not None:
            self._transport.close()  # nothing is ever written here, so that is at once
