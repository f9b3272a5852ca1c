"""One connection of a tunnel: forwards what its far end sends, and no more than it may."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from websockets.frames import Close, Frame, Opcode

from .frames import FrameTracker


def close_frame(code: int, *, mask: bool) -> bytes:
    """A whole close frame; `code` must be one that may be sent."""
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=mask)


class LegListener(Protocol):
    """The session that a leg belongs to."""

    def on_close_frame(self, leg: Leg) -> None:
        """The far end of `leg` has sent its close frame."""

    def on_leg_end(self, leg: Leg) -> None:
        """The far end of `leg` sends nothing more; perhaps it is gone altogether."""


class Leg(asyncio.Protocol):
    """One connection of a tunnel: forwards what its far end sends."""

    __slots__ = (
        "eof",
        "is_client",
        "last",
        "listener",
        "lost",
        "peer",
        "sink",
        "stopped",
        "tracker",
        "transport",
    )

    peer: Leg
    transport: asyncio.Transport
    sink: asyncio.Transport

    def __init__(self, listener: LegListener, *, is_client: bool) -> None:
        self.listener = listener
        self.is_client = is_client
        """Whether the client is at the far end, and not the backend."""
        self.tracker = FrameTracker()
        self.last: bytes | None = None
        """What the peer gets in place of this side's next frame. None: all frames are forwarded."""
        self.stopped = False
        """`last` has been said: nothing of what still comes is forwarded."""
        self.eof = False
        self.lost = False

    def data_received(self, data: bytes) -> None:
        if self.last is not None:
            return self._forward_to_boundary(data)
        tracker = self.tracker
        tracker.feed(data)
        self.sink.write(data)
        if tracker.close_code is not None:
            self.listener.on_close_frame(self)
        return None

    def _forward_to_boundary(self, data: bytes) -> None:
        if not self.stopped:
            rest = self.tracker.bytes_to_boundary(data)
            if rest > len(data):
                self.sink.write(data)
            else:
                self.sink.write(data[:rest] + cast(bytes, self.last))
                self.stopped = True
        self.tracker.feed(data)
        if self.tracker.close_code is not None:
            self.listener.on_close_frame(self)

    def stop(self, last: bytes) -> None:
        """Forward no more than the frame under way, then `last`."""
        if self.last is None:
            self.last = last
            if self.tracker.close_code is not None:
                self.stopped = True  # its own close frame was the last word
            elif self.tracker.at_boundary:
                self.sink.write(last)
                self.stopped = True

    def finish(self) -> None:
        """End our side of this connection behind what is still to be written.

        Its far end may go on sending: closing at once would reset the
        connection and could destroy our last bytes on their way (RFC 9112 §9.6).
        """
        self.peer.mute()
        if self.transport.is_closing():
            return
        said_all = self.eof or self.tracker.close_code is not None
        if said_all or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()
            self.transport.resume_reading()

    def mute(self) -> None:
        """Forward nothing more."""
        self.last, self.stopped = self.last or b"", True

    def eof_received(self) -> bool:
        self.eof = True
        self.listener.on_leg_end(self)
        return self.transport.can_write_eof()  # stay half open where there is such a thing

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof = self.lost = True
        self.listener.on_leg_end(self)

    def pause_writing(self) -> None:
        self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        self.peer.transport.resume_reading()

    def shutdown(self) -> None:
        """uvicorn asks every connection at the start of a drain: a live session goes on."""
