"""How long an HTTP/2 connection waits for its client."""

from __future__ import annotations

from typing import Any

from ...http2.engine import ErrorCode
from ..client_connection import LINGER_SECONDS
from ..edge import NO_DEADLINE
from .http2_connection import Http2Connection
from .http2_ends import LINGER, SERVE

MISSED_SWEEPS = 3
"""After so many sweeps without a look at the streams, what was seen then says nothing."""


class Http2Deadlines(Http2Connection):
    """One deadline for the connection, and looks at its streams when that is over."""

    __slots__ = ("_last_look",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._last_look = 0.0

    def rearm(self) -> None:
        """Set the deadline that goes with the present state."""
        edge = self.edge
        if self.write_paused or self._state > SERVE:
            seconds = LINGER_SECONDS if self._state == LINGER else edge.limits.idle_timeout
            self.deadline = edge.after(seconds)
        elif self._state == SERVE:
            if not self.streams:
                self.deadline = edge.after(edge.limits.keep_alive_timeout)
            elif self._receiving or self.engine.queued_body_size():
                self.deadline = edge.now if edge.limits.idle_timeout else NO_DEADLINE  # each sweep
            else:
                self.deadline = NO_DEADLINE

    def expire(self) -> None:
        """The sweep found the deadline over."""
        if self.write_paused or self._state > SERVE:
            self.expire_sending()
        elif self.streams:
            self._look()
            self.rearm()
        else:
            self.leave()

    def _look(self) -> None:
        """End the streams whose client has sent nothing of a body, or taken nothing of an answer,
        for `idle_timeout`."""
        now, patience = self.edge.now, self.edge.limits.idle_timeout
        anew = now - self._last_look > MISSED_SWEEPS * self.edge.sweep_interval
        self._last_look = now
        for stream in tuple(self.streams.values()):
            unsent = self.engine.queued_body_size(stream.id)
            if anew or unsent != stream.unsent or not unsent:
                stream.unsent, stream.took_at = unsent, now
            elif now - stream.took_at >= patience:
                self.reset_stream(stream, ErrorCode.CANCEL)
                continue
            if stream not in self._receiving or stream.unread or stream.complete:
                stream.sent_at = now
            elif now - stream.sent_at >= patience:
                stream.exchange.refuse(408, "the request's body did not arrive in time")
