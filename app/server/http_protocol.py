"""The HTTP/1.1 protocol of a client's connection; it takes the place of uvicorn's."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .connection import BODY, CLOSED, DISCARD, HEAD, HIGH_WATER, LINGER, NEVER, WAIT, Connection
from .exchange import Exchange
from .peer import PEER
from .refusal import Refusal
from .request_body import ChunkedBody, LengthBody
from .request_head import EMPTY_LINES, RequestHead, check_beginning, check_size, parse_head

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from .edge import Edge

logger = logging.getLogger(__name__)


class HttpProtocol(Connection):
    """Heads in, exchanges started one after the other, bodies handed on.

    Requests that are sent ahead (pipelining) wait as unread bytes.
    """

    __slots__ = ("_body", "_received", "_requests")

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

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == HEAD:
            self._take_head(data)
        elif state == BODY:
            self._take_body(data)
        elif state == WAIT:
            self._buffer += data
            if len(self._buffer) > HIGH_WATER:
                self.pause_reading()
        elif state == DISCARD:
            self._discard(data)

    # Heads.

    def _take_head(self, data: bytes, *, sent_ahead: bool = False) -> None:
        if self._buffer:
            data = self._buffer + data
        if data.startswith(b"\r\n"):  # some clients end a body with one (RFC 9112 §2.2)
            data = data[EMPTY_LINES.match(data).end() :]  # type: ignore[union-attr]
        limits = self.edge.limits
        end = data.find(b"\r\n\r\n")
        try:
            if end < 0:
                self._wait_for_head(data)
                return
            if end > limits.request_line or end > limits.head:
                check_size(data, end, limits.request_line, limits.head)
            request = parse_head(
                data[:end], max_headers=limits.headers, secure=self.peer.scheme == "https"
            )
            if request.length > limits.body > 0:
                raise Refusal(413, "the body is larger than this server takes")
        except Refusal as refusal:
            self._refuse(refusal, data)
            return
        rest = data[end + 4 :]
        self._buffer = b""
        if not (request.upgrade == b"websocket" and self._upgrade(request, rest)):
            self._begin(request, rest, sent_ahead=sent_ahead)

    def _wait_for_head(self, data: bytes) -> None:
        begins = bool(data) and not self._buffer
        self._buffer = data
        if begins and self._requests:
            self._rearm()  # from keep-alive to the head's time
        limits = self.edge.limits
        check_size(data, len(data), limits.request_line, limits.head)
        check_beginning(data)

    def _begin(self, request: RequestHead, rest: bytes, *, sent_ahead: bool) -> None:
        self._requests += 1
        exchange = self.exchange = Exchange(self, request)
        if request.length == 0:
            self._state = WAIT
            self._buffer = rest
            self.deadline = NEVER
            # What was sent ahead waits a turn, until the one before it is over for everybody.
            express = self.edge.express
            unhurried = sent_ahead or self.edge.draining
            if express is not None and not unhurried and express(exchange, request):
                return
        else:
            self._state = BODY
            self._received = 0
            self._body = ChunkedBody() if request.length < 0 else LengthBody(request.length)
            self._rearm()
            if rest:
                self._take_body(rest)
                if self.exchange is None:  # refused, before the application heard of it
                    why = Refusal(*(exchange.refused or (400, "refused")))
                    self.edge.on_refusal(self.peer, request.beginning, why)
                    return
        exchange.start(self.app, self._scope(request, exchange))

    def _scope(self, request: RequestHead, exchange: Exchange) -> dict[str, Any]:
        """The ASGI scope; `hipache.target` has the target's exact bytes, an empty query too."""
        raw_path, _, query = request.target.partition(b"?")
        path = raw_path.decode("ascii")
        extensions: dict[str, Any] = {
            "hipache.connection": exchange,
            PEER: self.peer,
            "hipache.target": request.target,
        }
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version,
            "server": self.peer.server,
            "client": self.peer.client,
            "scheme": self.peer.scheme,
            "root_path": self.config.root_path,
            "method": request.method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": request.headers,
            "state": self.app_state.copy(),
            "extensions": extensions,
        }

    def _upgrade(self, request: RequestHead, rest: bytes) -> bool:
        """Hand the connection to the WebSocket class; False where the server has none.

        A class with `handle_upgrade` gets the parsed request, the bytes behind it, the
        peer, and what to call at the end; any other reads the head again, as uvicorn's do.
        """
        ws_class: Any = self.config.ws_protocol_class
        if ws_class is None:
            return False
        self._state = CLOSED
        self.deadline = NEVER
        self.server_state.connections.discard(self)
        protocol = ws_class(
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.client, protocol.server = self.peer.client, self.peer.server
        if hasattr(protocol, "handle_upgrade"):
            refusal = protocol.handle_upgrade(request, rest, self.peer, self._release)
            if refusal:
                self.edge.on_refusal(self.peer, request.beginning, refusal)
        else:
            self._release()
            lines = [b"GET %b HTTP/1.1" % request.target, *map(b": ".join, request.headers)]
            protocol.data_received(b"\r\n".join([*lines, b"\r\n"]) + rest)
        return True

    def _release(self) -> None:
        self.edge.release(self, self.peer.address)

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
        if payload and not self.exchange.feed(payload):
            self.pause_reading()
        if rest is not None:
            self._body = None
            self._state = WAIT
            self._buffer = rest
            self.exchange.end_body()
        self._rearm()

    def _discard(self, data: bytes) -> None:
        """The rest of a small body whose answer has been sent already."""
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
        return self._state == BODY and not self._body_is_nearly_here()

    def _body_is_nearly_here(self) -> bool:
        return self._body is not None and 0 <= self._body.remaining <= HIGH_WATER

    def response_done(self) -> None:
        """The exchange has sent its last byte: on to the next one, or the end."""
        exchange = self.exchange
        if exchange is None:
            return  # refused meanwhile
        self.exchange = None
        exchange.wake()
        self.server_state.total_requests += 1
        self.edge.total_requests += 1
        if self._state == WAIT and exchange.keep_alive:
            self._next()
        elif exchange.keep_alive and self._body_is_nearly_here():
            self._state = DISCARD
            self.resume_reading()
            self._rearm()
        else:
            # Unless it asked for the close, the client may be sending the next one already.
            self._close(linger=not exchange.last_by_request or self._state == BODY)

    def _next(self) -> None:
        self._state = HEAD
        data, self._buffer = self._buffer, b""
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
        """Answer what is no legal request, or cut the answer that runs; either way the last."""
        logger.debug("refused client=%s status=%d %s", self.peer.address, refusal.status, refusal)
        exchange = self.exchange
        if exchange is None:
            self.edge.on_refusal(self.peer, head, refusal)
        if exchange is None or not exchange.started:
            fields = b"allow: GET, HEAD\r\n" if refusal.status == 405 else b""
            to_head = exchange.to_head if exchange is not None else head.startswith(b"HEAD ")
            self.answer_and_close(refusal.status, str(refusal), fields, to_head=to_head)
        else:
            self.cut(close_delimited=exchange.close_delimited)
        if exchange is not None:
            exchange.refused = refusal.status, str(refusal)
            exchange.disconnect()

    def expire(self) -> None:
        """The sweep found the deadline over."""
        if self.write_paused or self._state in (LINGER, CLOSED):
            self._expire_sending()
        elif self._state == HEAD and self._buffer:
            self._refuse(Refusal(408, "the request's head did not come in time"), self._buffer)
        elif self._state == BODY:
            self._refuse(Refusal(408, "the request's body did not arrive in time"))
        else:
            self._close()
