"""The HTTP/1 protocol of a client's connection, in place of uvicorn's own."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..fields.names import CR
from .body_reading import READ_AHEAD, ChunkedBody, LengthBody
from .edge import NO_DEADLINE
from .exchange import Exchange
from .http1_connection import BODY, CLOSED, DISCARD, HEAD, LINGER, WAIT, Http1Connection
from .http1_stream import Http1Stream
from .refusal import MORE_FIELDS, Refusal
from .repeated_head import RepeatedHead
from .request_head import EMPTY_LINES, RequestHead, check_beginning, check_size
from .scope import asgi_scope
from .upgrade import PREFACE, speak_http2, upgrade

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from .edge import Edge

logger = logging.getLogger(__name__)


class HttpProtocol(Http1Connection):
    """Reads heads and bodies, and starts one exchange after the other.

    Pipelined requests wait as unread bytes.
    """

    __slots__ = ("_body", "_received", "_repeated", "_requests")

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(edge, config, server_state, app_state, _loop)
        self._body: LengthBody | ChunkedBody | None = None
        self._received = 0  # bytes of the present body
        self._requests = 0
        self._repeated = RepeatedHead(edge.shared_heads)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == HEAD:
            self._take_head(data)
        elif state == BODY:
            self._take_body(data)
        elif state == WAIT:
            self.keep_later(self._buffer + data)
        elif state == DISCARD:
            self._discard(data)

    # Heads.

    def _take_head(self, data: bytes, *, sent_ahead: bool = False) -> None:
        if self._buffer:
            data = self._buffer + data
        if data[0] == CR:  # some clients end a body with one (RFC 9112 §2.2)
            data = data[EMPTY_LINES.match(data).end() :]  # type: ignore[union-attr]
        limits = self.edge.limits
        head, found, rest = data.partition(b"\r\n\r\n")
        try:
            if not found:
                self._wait_for_head(data)
                return
            end = len(head)
            if end > limits.request_line or end > limits.head:
                check_size(data, end, limits.request_line, limits.head)
            request = self._repeated.parse(head, limits.headers, self.peer)
            if request.length > limits.body > 0:
                raise Refusal(413, "the body is larger than this server takes")
        except Refusal as refusal:
            if refusal.status != 505 or not self._is_http2(data):
                self._refuse(refusal, data)
            return
        if self._buffer:
            self.let_go()
        if not (request.upgrade == b"websocket" and self._upgrade(request, rest)):
            self._begin(request, rest, sent_ahead=sent_ahead)

    def _wait_for_head(self, data: bytes) -> None:
        begins = bool(data) and not self._buffer
        if not self.keep(data):
            raise Refusal(503, "no memory is left to hold the request's head")
        if begins and self._requests:
            self.rearm()  # from keep-alive to the head's time
        limits = self.edge.limits
        check_size(data, len(data), limits.request_line, limits.head)
        check_beginning(data)

    def _begin(self, request: RequestHead, rest: bytes, *, sent_ahead: bool) -> None:
        self._requests += 1
        stream = Http1Stream(self, request)
        exchange = self.exchange = Exchange(stream, self.peer, request, self.tasks)
        length = request.length
        whole = 0 <= length <= len(rest)
        if whole:
            self._state, self.deadline = WAIT, NO_DEADLINE
            if len(rest) > length:
                self.keep_later(rest[length:])
            if length:
                exchange.came_whole(rest[:length])
        else:
            exchange.hold = self.edge.uploads.count
            self._state, self._received = BODY, 0
            self._body = ChunkedBody() if length < 0 else LengthBody(length)
            self._take_body(rest)
            if self.exchange is None:  # refused before the application heard of it
                why = Refusal(*(exchange.refused or (400, "refused")))
                self.edge.on_refusal(self.peer, request.beginning, why)
                return
        fast_path = self.edge.fast_path
        # A pipelined request waits until the request before it is over for all observers.
        slow = sent_ahead or self.edge.draining or not exchange.body_complete
        if slow or fast_path is None or not fast_path(exchange, request):
            scope = asgi_scope(request, exchange, self.config.root_path, self.app_state)
            exchange.start(self.app, scope)
        if length and whole and exchange.task is not None:  # its body waits for the task
            self.edge.uploads.count(length)

    def _is_http2(self, data: bytes) -> bool:
        """Whether these first bytes are the preface of HTTP/2, which its protocol takes over."""
        if not self.edge.prior_knowledge or self._requests or self.peer.tls:
            return False
        if data.startswith(PREFACE):
            speak_http2(self, data)
            return True
        self._buffer = data  # perhaps it lacks its end
        return PREFACE.startswith(data)

    def _upgrade(self, request: RequestHead, rest: bytes) -> bool:
        """Hand the connection to the WebSocket class; False where the server has none."""
        if self.config.ws_protocol_class is None:
            return False
        self._state = CLOSED
        self.deadline = NO_DEADLINE
        upgrade(self, request, rest)
        return True

    # Bodies.

    def _take_body(self, data: bytes) -> None:
        assert self._body is not None
        assert self.exchange is not None
        try:
            payload, rest = self._body.feed(data)
            self._received += len(payload)
            if self._received > self.edge.limits.body > 0:
                raise Refusal(413, "the body is larger than this server takes")
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if payload:
            self.exchange.feed(payload)
        if rest is not None and self._state == BODY:  # else the body was refused
            self._state = WAIT
            if rest:
                self.keep_later(rest)
            self.exchange.end_body(self._body.trailers)
            self._body = None
        self.rearm()

    def _discard(self, data: bytes) -> None:
        """Drop the rest of a small body; its answer is complete."""
        assert self._body is not None
        _, rest = self._body.feed(data)
        if rest is not None:
            self._body = None
            self._buffer = rest
            self._next()

    # Responses.

    def must_close(self) -> bool:
        """Whether the answer that starts now is this connection's last."""
        if self.edge.draining or (self._eof and not self._buffer):
            return True
        if 0 < self.edge.limits.requests <= self._requests:
            return True
        return self._state != WAIT and not self._body_is_nearly_here()

    def _body_is_nearly_here(self) -> bool:
        return self._body is not None and 0 <= self._body.remaining <= READ_AHEAD

    def response_done(self, keep_alive: bool, more_expected: bool) -> None:
        exchange = self.exchange
        if exchange is None:
            return  # it was refused meanwhile
        self.exchange = None
        exchange.wake()
        self.server_state.total_requests += 1
        self.edge.total_requests += 1
        if self._state == WAIT and keep_alive:
            self._next()
        elif keep_alive and self._body_is_nearly_here():
            self._state = DISCARD
            self.resume_reading()
            self.rearm()
        else:
            # The client may be sending the next one already.
            self._close(linger=more_expected or self._state == BODY)

    def _next(self) -> None:
        self._state = HEAD
        data = self.let_go() if self._buffer else b""
        if self.read_paused:
            self.resume_reading()
        self.deadline = self.edge.after(self.edge.limits.keep_alive_timeout)
        if data:
            self._take_head(data, sent_ahead=True)
        if self._state == BODY and self._eof:
            self._close()  # the rest of its body will not come
        if self._state != HEAD:
            return
        if self._eof:
            self._close()
        elif self.edge.draining:
            self.shutdown()

    def _refuse(self, refusal: Refusal, head: bytes = b"") -> None:
        """Refuse the request, or cut its answer if that has begun; then close."""
        logger.debug("refused client=%s status=%d %s", self.peer.address, refusal.status, refusal)
        exchange = self.exchange
        if exchange is not None:
            exchange.refuse(refusal.status, str(refusal))
            return
        self.edge.on_refusal(self.peer, head, refusal)
        fields, to_head = MORE_FIELDS.get(refusal.status, b""), head.startswith(b"HEAD ")
        self.answer_and_close(refusal.status, str(refusal), fields, to_head=to_head)

    def expire(self) -> None:
        """The sweep found the deadline over."""
        if self.write_paused or self._state in (LINGER, CLOSED):
            self.expire_sending()
        elif self._state == HEAD and self._buffer:
            self._refuse(Refusal(408, "the request's head did not come in time"), self._buffer)
        elif self._state == BODY:
            self._refuse(Refusal(408, "the request's body did not arrive in time"))
        else:
            self._close()
