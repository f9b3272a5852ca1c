"""How many frames a client sends that cost us work and bring it nothing (RFC 9113 §10.5)."""

from __future__ import annotations

from enum import IntEnum

from ...config.http2_limits import WINDOW, Http2Limits


class Idle(IntEnum):
    """Kinds of frames that do no work for their sender."""

    RESET = 0
    PING = 1
    SETTINGS = 2
    EMPTY = 3
    UPDATE = 4


class FrameRates:
    """Counts those of one connection. Pure: the clock is an argument."""

    __slots__ = ("_counts", "_most", "_since")

    def __init__(self, limits: Http2Limits) -> None:
        self._most = [
            WINDOW * limits.max_resets,
            WINDOW * limits.max_pings,
            WINDOW * limits.max_settings,
            WINDOW * limits.max_empty_frames,
            WINDOW * limits.max_updates,
        ]
        self._counts = [0] * len(self._most)
        self._since = 0.0

    def exceeded(self, kind: Idle, now: float) -> bool:
        """Count a frame that came at `now`, in seconds; True if there are too many of its kind."""
        if now - self._since >= WINDOW:
            self._since = now
            self._counts = [0] * len(self._counts)
        self._counts[kind] += 1
        return 0 < self._most[kind] < self._counts[kind]
