"""The bytes of one connection of HTTP/2 to a backend: the engine between asyncio and events."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ...http2.engine import (
    EngineEnded,
    EngineError,
    ErrorCode,
    Event,
    make_client_engine,
    room_for,
)
from ...http2.receive_window import ReceiveWindow
from ..framing import MAX_HEAD
from .backend_request import BackendRequest
from .heartbeat import Beat, Heartbeat

PIECE = 65536
"""Bytes that are written at once."""


class BackendWire(asyncio.Protocol):
    """Writes what the engine has, and widens windows; the subclass takes the engine's events."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, ping: float) -> None:
        """`most`: requests at once, for which the window has room; `ping`: seconds of silence."""
        self._loop = loop
        self.clock, self.new_future = loop.time, loop.create_future
        self._window = ReceiveWindow(room_for(most))
        self._transport: asyncio.Transport | None = None
        self._flush_due = self._write_paused = False
        self.engine = make_client_engine(most, head=MAX_HEAD)
        self.scheme = b"http"
        self.tunnels = False
        self._heartbeat = Heartbeat(ping)
        self._vanished = False
        self.streams: dict[int, BackendRequest] = {}
        """The requests under way, by the engine's numbers."""
        self.waiting: set[BackendRequest] = set()

    @property
    def below(self) -> asyncio.BaseTransport | None:
        """What carries the bytes, None where it is lost."""
        return self._transport

    def _handle(self, events: list[Event]) -> None:
        raise NotImplementedError

    def _fail(self, error: EngineError) -> None:
        raise NotImplementedError

    def retire(self) -> None:
        """Begin no further request; those under way go on."""
        raise NotImplementedError

    def reset(self, number: int) -> None:
        """End a stream before its time."""
        self.streams.pop(number, None)
        with suppress(EngineError):
            self.engine.reset_stream(number, ErrorCode.CANCEL)
        unread = sum(place.unread for place in self.streams.values())
        with suppress(EngineEnded):
            if not self._window.refill(self.engine, unread):
                self.retire()
        self.flush_soon()

    def give_back(self, size: int, number: int) -> None:
        """`size` bytes of stream `number` were taken: the backend may send as many again."""
        try:  # noqa: SIM105 - costs nothing here
            self.engine.acknowledge_received_data(size, number)
        except EngineEnded:
            pass
        self.flush_soon()

    def sweep(self, now: float) -> None:
        """Ask a backend that is silent whether it is there, and end the connection if it is not."""
        beat = self._heartbeat.look(now, busy=bool(self.streams))
        if beat is Beat.ASK:
            with suppress(EngineError):
                self.engine.ping()
            self.flush_soon()
        elif beat is Beat.END and self._transport is not None:
            self._vanished = True
            self._transport.abort()

    def flush_soon(self) -> None:
        """Send what the engine has, with all else that comes up in this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            while not self._write_paused and (data := self.engine.data_to_send(PIECE)):
                transport.write(data)
            self._handle(self.engine.events())
        except EngineError as error:
            self._fail(error)
        for place in tuple(self.waiting):
            place.wake_if_drained()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.scheme = b"https" if transport.get_extra_info("ssl_object") else b"http"
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._flush_due = True  # at the end of this call
        self._heartbeat.heard = True
        try:
            self.engine.receive_data(data)
            self._handle(self.engine.events())
        except EngineError as error:
            self._fail(error)
        self._flush()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._flush()
