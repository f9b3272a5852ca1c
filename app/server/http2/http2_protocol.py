"""The HTTP/2 protocol of a client's connection: one exchange for each stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from ...fields.trailers import Trailers
from ...http2.engine import (
    AT_ONCE,
    ConnectionClosed,
    DataReceived,
    ErrorCode,
    Event,
    PingAcknowledged,
    PingReceived,
    PriorityUpdateReceived,
    RequestReceived,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
    WindowUpdated,
)
from ..request_head import RequestHead
from .frame_rates import Idle
from .http2_ends import BEGIN, SERVE
from .http2_requests import Http2Requests
from .http2_stream import Http2Stream

logger = logging.getLogger(__name__)


class Http2Protocol(Http2Requests):
    """Takes the engine's events: starts exchanges, and feeds and ends them."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if self._state > SERVE:
            return
        self._flush_due = True  # at the end of this call
        try:
            if len(data) <= AT_ONCE:
                self.engine.receive_data(data)
                self.handle(self.engine.events())
            else:
                self._take_much(memoryview(data))
        except Exception as error:
            self.fail(error)
        self.flush_if_wanted()

    def _take_much(self, data: memoryview) -> None:
        for at in range(0, len(data), AT_ONCE):
            if self._state <= SERVE:
                self.engine.receive_data(data[at : at + AT_ONCE])
                self.handle(self.engine.events())

    def handle(self, events: list[Event]) -> None:
        """Each event in its order. A stream that ends in the same bytes never begins."""
        gone: Collection[int] = ()
        late: list[tuple[Http2Stream, RequestHead]] = []
        if len(events) > 1:
            gone = {each.stream_id for each in events if type(each) is StreamClosed}
        for event in events:
            if self._state > SERVE:
                return  # one of them has ended the connection
            if type(event) is RequestReceived:
                if event.stream_id not in gone:
                    self.on_request(event, late)
                else:
                    self.last_stream = event.stream_id
                    self.count(Idle.RESET)
            elif (on := _HANDLERS.get(type(event))) is not None:
                on(self, event)
        for stream, request in late:
            self.begin_late(stream, request)

    # Bodies.

    def _on_data(self, event: DataReceived) -> None:
        if not event.data and not event.end_stream:
            self.count(Idle.EMPTY)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            if event.data:  # its stream has ended meanwhile; the connection's window has not
                self.give_back(len(event.data), event.stream_id)
            return
        stream.sent_at = self.edge.now
        if event.data:
            stream.take(event.data)
            if stream.received > self.edge.limits.body > 0 and not stream.exchange.disconnected:
                stream.exchange.refuse(413, "the body is larger than this server takes")
        if event.end_stream:
            self._end_body(stream)

    def _on_trailers(self, event: TrailersReceived) -> None:
        """They end the body; the engine has checked them (RFC 9113 §8.1)."""
        if (stream := self.streams.get(event.stream_id)) is not None:
            self._end_body(stream, event.headers)

    def _end_body(self, stream: Http2Stream, trailers: Trailers = ()) -> None:
        if stream.body_came:
            return
        stream.body_came = True
        self._receiving.discard(stream)
        self._early.discard(stream)
        if not stream.exchange.disconnected:
            stream.exchange.end_body(trailers)

    # Ends.

    def _on_closed(self, event: StreamClosed) -> None:
        stream = self.streams.pop(event.stream_id, None)
        if stream is None:
            if event.stream_id > self.last_stream:  # its head was malformed
                self.last_stream = event.stream_id
                self.count(Idle.RESET)
            return
        self._heads -= stream.head_size
        if self._receiving or self._blocked or self._early or stream.wide:
            self.forget(stream)
        theirs = stream.closed(event.error_code)
        if stream.reset and not stream.body_came:
            self.refill()
        if theirs:
            self.count(Idle.RESET)

    def _on_settings(self, _: SettingsReceived) -> None:
        if self._state == BEGIN:
            self._state = SERVE
        self.count(Idle.SETTINGS)

    def _on_ping(self, _: PingReceived) -> None:
        self.count(Idle.PING)

    def _on_ping_answered(self, _: PingAcknowledged) -> None:
        """The client has read our shutdown notice: what it opened before is here."""
        if self._notice is not None:
            self.leave()

    def _on_update(self, _: WindowUpdated | PriorityUpdateReceived) -> None:
        """Parts of answers account for some of these frames."""
        if self.updates_due:
            self.updates_due -= 1
        else:
            self.count(Idle.UPDATE)

    def _on_connection_closed(self, event: ConnectionClosed) -> None:
        if event.error_code == ErrorCode.ENHANCE_YOUR_CALM:  # `calm` says so by itself
            self.edge.http2_floods += 1
        self.close(linger=event.error_code != 0)


_HANDLERS: dict[type[Event], Callable[[Http2Protocol, Any], None]] = {
    DataReceived: Http2Protocol._on_data,
    TrailersReceived: Http2Protocol._on_trailers,
    StreamClosed: Http2Protocol._on_closed,
    SettingsReceived: Http2Protocol._on_settings,
    PingReceived: Http2Protocol._on_ping,
    PingAcknowledged: Http2Protocol._on_ping_answered,
    WindowUpdated: Http2Protocol._on_update,
    PriorityUpdateReceived: Http2Protocol._on_update,
    ConnectionClosed: Http2Protocol._on_connection_closed,
}
