"""Whether the backend at the other end of a connection is there: PINGs (RFC 9113 §6.7). Pure."""

from __future__ import annotations

from enum import Enum, auto

BETWEEN = 300.0
"""Seconds between two PINGs without a part of an answer between them. gRPC's servers count each
that comes sooner, and end the connection at the third (gRFC A8)."""
PATIENCE = 2.0
"""How many times as long as it may be silent a backend has for its answer to a PING."""


class Beat(Enum):
    """What is to be done with a connection."""

    NOTHING = auto()
    ASK = auto()
    """Send a PING."""
    END = auto()
    """The backend is gone."""


class Heartbeat:
    """The silence of one connection. It is asked at each sweep, and costs two flags a read."""

    __slots__ = ("_after", "_asked", "_asking", "_since", "answered", "heard")

    def __init__(self, after: float) -> None:
        """`after`: seconds of silence while requests are under way; NEVER asks nothing."""
        self._after = after
        self._since: float | None = None
        self._asked = -BETWEEN
        self._asking = False
        self.heard = False
        """Set when bytes have come."""
        self.answered = True
        """Set when a part of an answer was among them."""

    def look(self, now: float, *, busy: bool) -> Beat:
        """At loop time `now`; `busy`: requests are under way."""
        if self.heard or not busy or self._since is None:
            self.heard = self._asking = False
            self._since = now if busy else None
        elif self._asking:
            return Beat.END if now - self._asked >= PATIENCE * self._after else Beat.NOTHING
        elif now - self._since >= self._after and (self.answered or now - self._asked >= BETWEEN):
            self.answered, self._asking, self._asked = False, True, now
            return Beat.ASK
        return Beat.NOTHING
