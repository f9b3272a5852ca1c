"""How requests begin on a connection of HTTP/2: one exchange for each stream."""

from __future__ import annotations

import logging
from typing import Any

from ...http2.engine import ErrorCode, RequestReceived, most_heads
from ..exchange import Exchange
from ..refusal import Refusal
from ..request_head import RequestHead
from ..scope import asgi_scope
from .frame_rates import FrameRates, Idle
from .http2_deadlines import Http2Deadlines
from .http2_stream import Http2Stream
from .repeated_section import RepeatedSection
from .request_pseudo_fields import VERSION, beginning
from .web_socket_exchange import WebSocketExchange, http1_handshake, web_socket_scope

logger = logging.getLogger(__name__)

TOO_MANY_PINGS = b"too_many_pings"
"""gRPC's clients that read this double the time between their PINGs (gRFC A8)."""


class Http2Requests(Http2Deadlines):
    """Starts exchanges, or refuses requests; the subclass takes the engine's events."""

    __slots__ = ("_heads", "_most_heads", "_rates", "_repeated", "_requests")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._requests = 0
        self._heads = 0  # bytes of the heads of all streams
        self._most_heads = most_heads(self.edge.limits.http2, self.edge.limits.head)
        self._rates = FrameRates(self.edge.limits.http2)
        self._repeated = RepeatedSection()

    def on_request(
        self, event: RequestReceived, late: list[tuple[Http2Stream, RequestHead]]
    ) -> None:
        """One with a body joins `late`: most bodies are small, and among the same events."""
        number = self.last_stream = event.stream_id
        limits = self.edge.limits
        self._requests += 1
        try:
            request, size = self._repeated.read(event.headers, limits, ended=event.end_stream)
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
        elif event.end_stream:
            self._begin(stream, request)
        else:
            late.append((stream, request))
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
        fast_path = edge.fast_path
        if fast_path is not None and not edge.draining and fast_path(exchange, request):
            return
        scope = asgi_scope(request, exchange, self.config.root_path, self.app_state)
        exchange.start(self.app, scope)

    def begin_late(self, stream: Http2Stream, request: RequestHead) -> None:
        """A request with a body, of which the first bytes may be here."""
        if stream.exchange.refused is not None:
            self.edge.on_refusal(self.peer, request.beginning, Refusal(*stream.exchange.refused))
        elif not stream.exchange.disconnected:
            self._begin(stream, request)

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
        self.count(Idle.RESET)

    def count(self, kind: Idle) -> None:
        """A frame that brings its sender nothing; too many of them are an attack."""
        if self._rates.exceeded(kind, self.edge.now):
            self.calm(f"too many {kind.name} frames", TOO_MANY_PINGS * (kind is Idle.PING))
