"""What leaves an HTTP/2 connection."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...http2.engine import (
    WIDE_STREAMS,
    WIDE_WINDOW,
    EngineEnded,
    ErrorCode,
    StreamGone,
    connection_window,
)
from ...http2.receive_window import ReceiveWindow
from .http2_ends import SERVE, Http2Ends
from .http2_stream import UPDATES, Http2Stream

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ...fields.headers import RawHeaders
    from ..edge import Edge

HELD = 32768
"""Bytes of an answer that wait for a client's window before the backend has to wait, too."""
LEAVES_AT_ONCE = 16384
"""A part of a body this large leaves at once; smaller ones leave together, a turn later."""
PIECE = 32768
"""Bytes that are written at once: memory for more is asked of the kernel, page by page."""


class Http2Connection(Http2Ends):
    """The engine's output; the subclasses set deadlines and take the engine's events."""

    __slots__ = ("_flush_due", "_wide", "_window", "updates_due")

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(edge, config, server_state, app_state, _loop)
        self._flush_due = False
        self.updates_due = 0
        """Frames of a client that takes what we have sent: WINDOW_UPDATE, PRIORITY_UPDATE."""
        self._window = ReceiveWindow(connection_window(edge.limits.http2))
        self._wide = 0  # streams whose window was widened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.edge.http2_connections += 1
        self.flush()

    # What leaves.

    def flush_soon(self) -> None:
        """Send what the engine has, with all else that comes up in this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.flush)

    def flush_if_wanted(self) -> None:
        """The same at the end of a read, which seldom leaves anything to send."""
        if self.engine.want_write or self._state != SERVE or self._early or self._blocked:
            self.flush()
        else:
            self._flush_due = False
            self.rearm()

    def flush(self) -> None:
        """Send what the engine has and the client's windows allow."""
        self._flush_due = False
        if self.write_paused or self._state > SERVE or self.transport.is_closing():
            return
        try:
            engine = self.engine
            if engine.queued_body_size() > PIECE:
                while self._flush_piece():
                    pass
            else:  # as `_flush_piece`, without a call for each small answer
                if data := engine.data_to_send():
                    self.transport.write(data)
                if events := engine.events():
                    self.handle(events)
            if self._early and not self.write_paused:
                self._stop_bodies()
        except Exception as error:
            self.fail(error)
            return
        if self._blocked:
            self._wake_senders()
        self.rearm()

    def _flush_piece(self) -> bool:
        """Send all, or a piece of much; whether something may be left and the client takes it."""
        engine = self.engine
        much = engine.queued_body_size() > PIECE
        data = engine.data_to_send(PIECE if much else None)
        if data:
            self.transport.write(data)
        if events := engine.events():
            self.handle(events)
        return much and bool(data) and not self.write_paused

    def send_whole(
        self, stream: Http2Stream, fields: RawHeaders, body: bytes, trailers: RawHeaders
    ) -> None:
        """A whole answer at once, whose body is not empty."""
        self.updates_due += UPDATES * (1 + (len(body) >> 14))
        try:
            self.engine.send_response(stream.id, fields)
            self.engine.send_data(stream.id, body, end_stream=not trailers)
            if trailers:
                self.engine.send_trailers(stream.id, trailers)
        except StreamGone:
            pass  # `closed` will tell
        self.response_done(stream)

    def body_queued(self, stream: Http2Stream, size: int) -> None:
        """`size` bytes of an answer's body are with the engine, and more will come."""
        if size >= LEAVES_AT_ONCE and not self.write_paused:
            self.flush()
        else:
            self.flush_soon()
        if self.write_paused or self.engine.queued_body_size(stream.id) > HELD:
            stream.full = True
            self._blocked.add(stream)

    def _wake_senders(self) -> None:
        if self.write_paused:
            return
        for stream in tuple(self._blocked):
            if self.engine.queued_body_size(stream.id) <= HELD // 2:
                self._blocked.discard(stream)
                stream.full = False
                stream.exchange.writable()

    def _stop_bodies(self) -> None:
        """The whole answer has left: nobody wants the rest of the body (RFC 9113 §8.1)."""
        for stream in tuple(self._early):
            if not self.engine.queued_body_size(stream.id):
                self._early.discard(stream)
                self.reset_stream(stream, ErrorCode.NO_ERROR)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flush()

    def acknowledge(self, stream: Http2Stream, size: int) -> None:
        """`size` bytes of its body were taken: the client may send as many again."""
        if self._state <= SERVE:
            self.give_back(size, stream.id)
            if stream in self._receiving and not stream.wide and self._wide < WIDE_STREAMS:
                self._widen(stream)
            if self.engine.want_write:  # it says so for half a window at a time
                self.flush_soon()

    def _widen(self, stream: Http2Stream) -> None:
        """Its body is being taken, so the client may send more of it ahead."""
        if stream.exchange.disconnected or stream.complete:
            return
        stream.wide = True
        self._wide += 1
        with suppress(EngineEnded, StreamGone):
            self.engine.set_local_window_size(WIDE_WINDOW, stream_id=stream.id)

    def give_back(self, size: int, number: int) -> None:
        """Widen the client's windows by `size`, of stream `number` if that is still there."""
        try:  # noqa: SIM105 - costs nothing here
            self.engine.acknowledge_received_data(size, number)
        except EngineEnded:
            pass

    def forget(self, stream: Http2Stream) -> None:
        """It is over: another one may have its wide window."""
        self._receiving.discard(stream)
        self._blocked.discard(stream)
        self._early.discard(stream)
        if stream.wide:
            self._wide -= 1

    def refill(self) -> None:
        """A stream was reset whose body was still coming."""
        unread = sum(stream.unread for stream in self.streams.values())
        with suppress(EngineEnded):
            if self._window.refill(self.engine, unread):
                self.flush_soon()
            else:
                self.go_away()

    def reset_stream(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End one stream at once; what has not left yet is lost."""
        if stream.id in self.streams and self._state <= SERVE:
            stream.reset = True
            with suppress(EngineEnded):
                self.engine.reset_stream(stream.id, code)
            self.flush_soon()

    def response_done(self, stream: Http2Stream) -> None:
        """The answer is whole, as far as the application is concerned."""
        stream.exchange.wake()
        self._blocked.discard(stream)
        if not stream.body_came:
            self._early.add(stream)
        self.server_state.total_requests += 1
        self.edge.total_requests += 1
        self.edge.http2_requests += 1
        if not self._flush_due:
            if len(self.streams) == 1:
                self.flush()  # no other can leave with it
            else:
                self.flush_soon()
