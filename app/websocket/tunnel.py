"""A WebSocket as a byte tunnel: what one end sends, the other gets.

From the 101 on, fragments, pings, compression, close codes and timing are the
ends' own affair. The tunnel sees to three things: the slower side sets the pace, a
side that vanishes ends the other too, and a drain ends with 1012 between two frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from .frames import (
    ABNORMAL,
    BAD_GATEWAY,
    GOING_AWAY,
    LAST_WORDS,
    SERVICE_RESTART,
    FrameTracker,
    sendable,
)
from .idle_watch import IdleWatch
from .tcp_keep_alive import keep_alive
from .tunnel_leg import Leg, close_frame

HALF_OPEN_SECONDS = 1.0
"""Seconds after one side's end in which the other has to take or close something."""


class Tunnel:
    """Both legs of one session and how it ends. Times are seconds.

    The session ends when no byte has passed for `idle_timeout`. After a close frame the
    ends have `close_timeout` to agree on it. 0 means no limit.
    """

    __slots__ = (
        "_idle",
        "_timer",
        "backend",
        "client",
        "close_code",
        "close_timeout",
        "closed_by",
        "ended",
        "idle_timeout",
        "loop",
    )  # fmt: skip

    def __init__(self, *, idle_timeout: float, close_timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.client = Leg(self, is_client=True)
        self.backend = Leg(self, is_client=False)
        self.client.peer, self.backend.peer = self.backend, self.client
        self.idle_timeout = idle_timeout
        self.close_timeout = close_timeout
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.close_code: int | None = None
        """The first close code that was sent, 1006 where a side went without one."""
        self.closed_by = ""
        """`client`, `backend` or `proxy`: who ended the session."""
        self._timer: asyncio.TimerHandle | None = None
        self._idle: IdleWatch | None = None

    @property
    def from_client(self) -> FrameTracker:
        """What the client sent."""
        return self.client.tracker

    @property
    def from_backend(self) -> FrameTracker:
        """What the backend sent."""
        return self.backend.tracker

    def join(
        self, client: asyncio.Transport, backend: asyncio.Transport, early: bytes, first: bytes
    ) -> None:
        """Let the bytes flow. `early` came from the client too early, `first` came behind the 101.

        Both transports belong to the tunnel from here on.
        """
        for leg, transport, sink in (
            (self.client, client, backend),
            (self.backend, backend, client),
        ):
            leg.transport, leg.sink = transport, sink
            keep_alive(transport)
            transport.set_protocol(leg)
        for leg, data in ((self.client, early), (self.backend, first)):
            if data:
                leg.data_received(data)
            if leg.transport.is_closing():  # lost before this leg listened
                leg.connection_lost(None)
            else:
                leg.transport.resume_reading()
        if self.idle_timeout:
            self._idle = IdleWatch(
                self.idle_timeout, self._count_bytes, lambda: self.close(GOING_AWAY)
            )

    async def run(self) -> None:
        """Wait until both connections are gone. A cancellation ends the session with 1012 first."""
        try:
            await asyncio.shield(self.ended)
        except asyncio.CancelledError:  # so uvicorn says that the grace is over
            self.close(SERVICE_RESTART)
            await asyncio.wait({self.ended}, timeout=LAST_WORDS)
            self.abort()

    def close(self, code: int) -> None:
        """End the session between two frames: `code` to the client, 1001 to the backend.

        The ends have `close_timeout` to agree; a second call changes nothing.
        """
        if self.close_code is not None:
            return
        self._ends_by("proxy", code)
        self.backend.stop(close_frame(code, mask=False))
        self.client.stop(close_frame(GOING_AWAY, mask=True))
        self._expect_close()

    def abort(self) -> None:
        """Cut both connections now."""
        if self.close_code is None:
            self._ends_by("proxy", ABNORMAL)
        self.client.transport.abort()
        self.backend.transport.abort()

    # -- tunnel_leg.LegListener

    def on_close_frame(self, leg: Leg) -> None:
        if self.close_code is None:
            self._ends_by("client" if leg.is_client else "backend", leg.tracker.close_code or 0)
            self._expect_close()
        elif leg.peer.last is not None:
            leg.finish()  # it answered a close frame of ours

    def on_leg_end(self, leg: Leg) -> None:
        peer = leg.peer
        if self.client.lost and self.backend.lost:
            return self._finish_session()
        if self.close_code is None:
            self._ends_by("client" if leg.is_client else "backend", ABNORMAL)
        if leg is self.backend:
            said = self.client.tracker.close_code
            code = BAD_GATEWAY if said is None else sendable(said)
            leg.stop(close_frame(code, mask=False))
        if leg.lost:
            peer.mute()
        if peer.eof:
            leg.finish()
        peer.finish()
        self._linger()
        return None

    # -- inside

    def _ends_by(self, who: str, code: int) -> None:
        self.closed_by, self.close_code = who, code

    def _expect_close(self) -> None:
        if self.close_timeout:
            self._arm(self.close_timeout, self._close_overdue)

    def _close_overdue(self) -> None:
        """One end does not answer a close frame: the tunnel answers it, and ends the session."""
        for leg in (self.client, self.backend):
            code = leg.tracker.close_code
            if code is not None and leg.peer.tracker.close_code is None:
                leg.peer.stop(close_frame(sendable(code), mask=not leg.is_client))
            leg.finish()
        self._linger()

    def _linger_on(self, before: int) -> None:
        """Give a slow reader more time for as long as it reads; cut the others."""
        unwritten = self._unwritten()
        if 0 < unwritten < before:
            return self._linger()
        for leg in (self.client, self.backend):
            if not leg.lost and leg.transport.get_write_buffer_size():
                leg.transport.abort()
            else:
                leg.transport.close()
        return None

    def _linger(self) -> None:
        self._arm(HALF_OPEN_SECONDS, partial(self._linger_on, self._unwritten()))

    def _unwritten(self) -> int:
        legs = (self.client, self.backend)
        return sum(leg.transport.get_write_buffer_size() for leg in legs if not leg.lost)

    def _count_bytes(self) -> int:
        return self.client.tracker.size + self.backend.tracker.size

    def _arm(self, delay: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(delay, callback)

    def _finish_session(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._idle is not None:
            self._idle.stop()
        if not self.ended.done():
            self.ended.set_result(None)
