"""The HTTP/2 protocol of a client's connection: one exchange for each stream."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
    most_heads,
)
from ..exchange import Exchange
from ..refusal import Refusal
from ..request_head import RequestHead
from ..scope import asgi_scope
from .frame_rates import FrameRates, Idle
from .http2_connection import Http2Connection
from .http2_ends import BEGIN, SERVE
from .http2_stream import Http2Stream
from .request_pseudo_fields import VERSION, beginning, read_head
from .web_socket_exchange import WebSocketExchange, http1_handshake, web_socket_scope

logger = logging.getLogger(__name__)


class Http2Protocol(Http2Connection):
    """Takes the engine's events: starts exchanges, and feeds and ends them."""

    __slots__ = ("_heads", "_most_heads", "_rates", "_requests")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._requests = 0
        self._heads = 0  # bytes of the heads of all streams
        self._most_heads = most_heads(self.edge.limits.http2, self.edge.limits.head)
        self._rates = FrameRates(self.edge.limits.http2)

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
        self.flush()

    def _take_much(self, data: memoryview) -> None:
        for at in range(0, len(data), AT_ONCE):
            if self._state <= SERVE:
                self.engine.receive_data(data[at : at + AT_ONCE])
                self.handle(self.engine.events())

    def handle(self, events: list[Event]) -> None:
        """Each event in its order. A stream that ends in the same bytes never begins."""
        gone: set[int] = set()
        if len(events) > 1:
            gone = {each.stream_id for each in events if type(each) is StreamClosed}
        for event in events:
            if self._state > SERVE:
                return  # one of them has ended the connection
            if type(event) is RequestReceived:
                if event.stream_id not in gone:
                    self._on_request(event)
                else:
                    self.last_stream = event.stream_id
                    self._count(Idle.RESET)
            elif (on := _HANDLERS.get(type(event))) is not None:
                on(self, event)

    # Requests.

    def _on_request(self, event: RequestReceived) -> None:
        number = self.last_stream = event.stream_id
        limits = self.edge.limits
        self._requests += 1
        try:
            request, size = read_head(event.headers, limits, ended=event.end_stream)
            if request.length > limits.body > 0:
                raise Refusal(413, "the body is larger than this server takes")
        except Refusal as refusal:
            self._refuse(number, event, refusal)
            return
        if self._heads + size > self._most_heads:
            self._refuse_stream(number)
            return
        stream = self._open(number, request, ended=event.end_stream)
        stream.head_size = size
        self._heads += size
        if request.upgrade:
            self._begin_web_socket(stream, request)
        else:
            self._begin(stream, request)
        if 0 < limits.requests <= self._requests:
            self.go_away()

    def _open(self, number: int, request: RequestHead, *, ended: bool) -> Http2Stream:
        stream = self.streams[number] = Http2Stream(self, request, number)
        stream.exchange = Exchange(stream, self.peer, request, self.tasks)
        stream.body_came = ended
        if not ended:
            stream.exchange.hold = self.edge.uploads.count
            self._receiving.add(stream)
            stream.sent_at = self.edge.now
        return stream

    def _begin(self, stream: Http2Stream, request: RequestHead) -> None:
        exchange, edge = stream.exchange, self.edge
        if request.length == 0:
            fast_path = edge.fast_path
            if fast_path is not None and not edge.draining and fast_path(exchange, request):
                return
        scope = asgi_scope(request, exchange, self.config.root_path, self.app_state)
        exchange.start(self.app, scope)

    def _begin_web_socket(self, stream: Http2Stream, request: RequestHead) -> None:
        """An extended CONNECT (RFC 8441): its frames may come whenever they like."""
        self._receiving.discard(stream)
        request.headers = http1_handshake(request.headers)
        exchange = stream.exchange = WebSocketExchange(
            stream, self.peer, request, self.tasks, self.transport
        )
        scope = web_socket_scope(request, exchange, self.config.root_path, self.app_state)
        exchange.start(self.app, scope)

    def _refuse(self, number: int, event: RequestReceived, refusal: Refusal) -> None:
        """Answer a request that is none, and take nothing more of it."""
        logger.debug("refused client=%s status=%d %s", self.peer.address, refusal.status, refusal)
        self.edge.on_refusal(self.peer, beginning(event.headers), refusal)
        method = dict(event.headers).get(b":method", b"")
        request = RequestHead(method, b"/", VERSION, list(event.headers), keep_alive=True)
        self._open(number, request, ended=event.end_stream).refuse(refusal.status, refusal.reason)

    def _refuse_stream(self, number: int) -> None:
        """All heads together are too large; the client may ask again (RFC 9113 §8.7)."""
        logger.debug("heads too large together client=%s", self.peer.address)
        self.engine.reset_stream(number, ErrorCode.REFUSED_STREAM)
        self._count(Idle.RESET)

    # Bodies.

    def _on_data(self, event: DataReceived) -> None:
        if not event.data and not event.end_stream:
            self._count(Idle.EMPTY)
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
                self._count(Idle.RESET)
            return
        self._heads -= stream.head_size
        self.forget(stream)
        theirs = stream.closed(event.error_code)
        if stream.reset and not stream.body_came:
            self.refill()
        if theirs:
            self._count(Idle.RESET)

    def _on_settings(self, _: SettingsReceived) -> None:
        if self._state == BEGIN:
            self._state = SERVE
        self._count(Idle.SETTINGS)

    def _on_ping(self, _: PingReceived) -> None:
        self._count(Idle.PING)

    def _on_ping_answered(self, _: PingAcknowledged) -> None:
        """The client has read our shutdown notice: what it opened before is here."""
        if self._notice is not None:
            self.leave()

    def _on_update(self, _: WindowUpdated | PriorityUpdateReceived) -> None:
        """Parts of answers account for some of these frames."""
        if self.updates_due:
            self.updates_due -= 1
        else:
            self._count(Idle.UPDATE)

    def _count(self, kind: Idle) -> None:
        """A frame that brings its sender nothing; too many of them are an attack."""
        if self._rates.exceeded(kind, self.edge.now):
            self.calm(f"too many {kind.name} frames")

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
