"""The HTTP/1.1 protocol of a client's connection.

It takes the place of uvicorn's HttpToolsProtocol and keeps its contract with the
server: the constructor, `shutdown`, membership in `connections` and `tasks`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from app.server.exchange import Exchange
from app.server.half_close import HalfClose
from app.server.refusal import Refusal, plain_response
from app.server.request_body import ChunkedBody, LengthBody
from app.server.request_head import RequestHead, parse_head, parse_request_line

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from app.server.edge import Edge

logger = logging.getLogger(__name__)

NEVER = float("inf")
HIGH_WATER = 65536
"""Bytes that may wait in each direction before the source is paused."""
LINGER_SECONDS = 2.0
"""How long a refused sender is listened to, so that it can read why (RFC 9112 §9.6)."""
_RESET = struct.pack("ii", 1, 0)

# What the next bytes are.
HEAD, BODY, WAIT, DISCARD, LINGER, CLOSED = range(6)


class HttpProtocol(asyncio.Protocol):
    """One connection: heads in, exchanges started in order, deadlines kept.

    Requests that are sent ahead (pipelining) wait as unread bytes.
    """

    __slots__ = (
        "_address",
        "_body",
        "_buffer",
        "_eof",
        "_half_close",
        "_received",
        "_requests",
        "_state",
        "_unsent",
        "app",
        "app_state",
        "client",
        "config",
        "deadline",
        "edge",
        "exchange",
        "loop",
        "read_paused",
        "scheme",
        "server",
        "server_state",
        "tasks",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.edge = edge
        self.config = config
        self.app = config.loaded_app
        self.server_state = server_state
        self.tasks = server_state.tasks
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.read_paused = False
        self.write_paused = False
        self._state = HEAD
        self._buffer = b""
        self._body: LengthBody | ChunkedBody | None = None
        self._eof = False
        self._half_close: HalfClose | None = None
        self._received = 0  # bytes of the present body
        self._requests = 0
        self._unsent = 0  # in the transport's buffer at the last look
        self._address: str | None = None

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(HIGH_WATER)
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._address = self.client[0] if self.client else None
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        self.deadline = NEVER
        over = self.edge.admit(self, self._address, self.loop)
        self.deadline = self.edge.after(self.edge.limits.header_timeout)
        if over:
            self.answer_and_close(503, over, fields=b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSED
        self.deadline = NEVER
        self._buffer = b""
        if self._half_close is not None:
            self._half_close.stop()
        self.server_state.connections.discard(self)
        self.edge.release(self, self._address)
        if self.exchange is not None:
            self.exchange.disconnect()
            self.exchange = None

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

    def eof_received(self) -> bool:
        """A half-close: what was asked is still answered (RFC 9112 §9.6)."""
        self._eof = True
        if self._state == WAIT and self.scheme == "http":  # TLS has no half-close in asyncio
            self._half_close = HalfClose(
                self.transport,
                self.loop,
                self._may_probe,
                self.transport.abort,
                self.edge.limits.half_close_probe,
            )
            return True
        if self._state == BODY and self.exchange is not None:
            self.exchange.disconnect()
        return False

    def _may_probe(self) -> bool:
        exchange = self.exchange
        return exchange is not None and exchange.http11 and not exchange.started

    def pause_writing(self) -> None:
        self.write_paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = self.edge.after(self.edge.limits.idle_timeout)

    def resume_writing(self) -> None:
        self.write_paused = False
        self._await_body()
        if self.exchange is not None:
            self.exchange.resume()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
            self._await_body()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
            self._await_body()

    # Requests.

    def _take_head(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if data.startswith(b"\r\n"):
            data = data[2:]  # some clients end a body with one (RFC 9112 §2.2)
        end = data.find(b"\r\n\r\n")
        try:
            if end < 0:
                self._wait_for_head(data)
                return
            self._check_size(data, end)
            request = parse_head(
                data[:end],
                max_headers=self.edge.limits.headers,
                secure=self.scheme == "https",
            )
            if request.length > self.edge.limits.body > 0:
                raise Refusal(413, "the body is larger than this server takes")
        except Refusal as refusal:
            self._refuse(refusal)
            return
        rest = data[end + 4 :]
        self._buffer = b""
        if request.upgrade == b"websocket" and self._upgrade(request, rest):
            return
        self._begin(request, rest)

    def _wait_for_head(self, data: bytes) -> None:
        """Refuse early what no further byte can mend."""
        if data and not self._buffer and self._requests:
            self.deadline = self.edge.after(self.edge.limits.header_timeout)
        self._buffer = data
        end = data.find(b"\r\n")
        self._check_size(data, len(data), end)
        if end >= 0:
            parse_request_line(data[:end])
        elif b"\n" in data or (data and data[0] <= 0x20 and data != b"\r"):
            raise Refusal(400, "malformed request line")

    def _check_size(self, data: bytes, size: int, line: int | None = None) -> None:
        limits = self.edge.limits
        if size <= limits.request_line and size <= limits.head:
            return
        if line is None:
            line = data.find(b"\r\n", 0, limits.request_line + 2)
        if line < 0 or line > limits.request_line:
            raise Refusal(414, "the request line is too long")
        if size > limits.head:
            raise Refusal(431, "the request's head is too large")

    def _begin(self, request: RequestHead, rest: bytes) -> None:
        self._requests += 1
        exchange = self.exchange = Exchange(self, request)
        scope = self._scope(request, exchange)
        if request.length == 0:
            self._state = WAIT
            self._buffer = rest
            self.deadline = NEVER
        else:
            self._state = BODY
            self._received = 0
            self._body = ChunkedBody() if request.length < 0 else LengthBody(request.length)
            self._await_body()
            if rest:
                self._take_body(rest)
                if self._state not in (BODY, WAIT):
                    return
        task = self.loop.create_task(exchange.run(self.app, scope))
        exchange.task = task
        self.tasks.add(task)

    def _scope(self, request: RequestHead, exchange: Exchange) -> dict[str, Any]:
        target = request.target
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if request.http11 else "1.0",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.config.root_path,
            "method": request.method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": request.headers,
            "state": self.app_state.copy(),
            "extensions": {"hipache.connection": exchange, "hipache.target": target},
        }

    def _upgrade(self, request: RequestHead, rest: bytes) -> bool:
        """Hand the connection to the WebSocket class; False if it stays HTTP.

        Only a GET without a body can be one (RFC 6455 §4.1); anything else goes
        on as the plain request that it also is, its framing untouched.
        """
        ws_class: Any = self.config.ws_protocol_class
        if ws_class is None or request.method != b"GET" or request.length != 0:
            return False
        self._state = CLOSED
        self.deadline = NEVER
        self.server_state.connections.discard(self)
        protocol = ws_class(
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        self.transport.set_protocol(protocol)
        if hasattr(protocol, "handle_upgrade"):
            protocol.connection_made(self.transport)
            protocol.handle_upgrade(request, rest, self._release)
            return True
        self._release()
        lines = [b"GET %b HTTP/1.1" % request.target, *map(b": ".join, request.headers)]
        protocol.connection_made(self.transport)
        protocol.data_received(b"\r\n".join([*lines, b"\r\n"]) + rest)
        return True

    def _release(self) -> None:
        self.edge.release(self, self._address)

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
        if rest is None:
            self._await_body()
            return
        self._body = None
        self._state = WAIT
        self._buffer = rest
        self._await_body()
        self.exchange.end_body()

    def _discard(self, data: bytes) -> None:
        """The rest of a small body whose answer has been sent already."""
        assert self._body is not None
        _, rest = self._body.feed(data)
        if rest is not None:
            self._body = None
            self._buffer = rest
            self._next()

    def _await_body(self) -> None:
        """A body must move, as long as it is we who wait for it."""
        if self.write_paused:
            return
        waiting = self._state == BODY and not self.read_paused
        self.deadline = self.edge.after(self.edge.limits.idle_timeout) if waiting else NEVER

    # Responses.

    def must_close(self, exchange: Exchange) -> bool:
        """Whether the answer that starts now is this connection's last."""
        if self.edge.draining or self._eof:
            return True
        most = self.edge.limits.requests
        return 0 < most <= self._requests or (
            not exchange.body_complete and not self._body_is_nearly_here()
        )

    def _body_is_nearly_here(self) -> bool:
        return self._body is not None and 0 <= self._body.remaining <= HIGH_WATER

    def response_done(self, exchange: Exchange) -> None:
        self.server_state.total_requests += 1
        self.edge.total_requests += 1
        self.exchange = None
        if not exchange.keep_alive:
            self._close(linger=self._state == BODY or bool(self._buffer))
        elif self._state == WAIT:
            self._next()
        elif self._body_is_nearly_here():
            self._state = DISCARD
            self.deadline = self.edge.after(self.edge.limits.idle_timeout)
            self.resume_reading()
        else:
            self._close(linger=True)

    def _next(self) -> None:
        self._state = HEAD
        data, self._buffer = self._buffer, b""
        self.deadline = self.edge.after(self.edge.limits.keep_alive_timeout)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if data:
            self._take_head(data)
        if self._state == HEAD and self._eof:
            self._close()
        elif self.edge.draining:
            self.shutdown()

    def cut(self, *, close_delimited: bool) -> None:
        """End the connection so that the client sees an unfinished answer.

        Where only the close delimits the body, an orderly close would be its end.
        """
        if close_delimited:
            sock: socket.socket | None = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._state = CLOSED
        self.deadline = NEVER
        self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        self.edge.refused_requests += 1
        exchange, self.exchange = self.exchange, None
        if exchange is None or not exchange.started:
            self.answer_and_close(refusal.status, refusal.reason)
        else:
            self.cut(close_delimited=False)
        if exchange is not None:
            exchange.disconnect()

    def answer_and_close(self, status: int, text: str, fields: bytes = b"") -> None:
        """Answer without the application, and close once the client can have read it."""
        self.exchange = None
        if status == 405:
            fields += b"allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n"
        self.transport.write(plain_response(status, text, fields=fields))
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        """Close; lingering where a close with unread bytes would reset what we sent."""
        self._buffer = b""
        self._body = None
        if linger and not self._eof and self.transport.can_write_eof():
            self._state = LINGER
            self.transport.write_eof()
            self.deadline = self.edge.after(LINGER_SECONDS)
            if self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()
            return
        self._state = CLOSED
        self.transport.close()
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = self.edge.after(self.edge.limits.idle_timeout)

    # Time.

    def expire(self) -> None:
        """The sweep found the deadline over."""
        if self.write_paused or self._state in (LINGER, CLOSED):
            self._expire_sending()
        elif self._state == HEAD:
            if self._buffer:
                self._refuse(Refusal(408, "the request's head did not arrive in time"))
            else:
                self._close()
        elif self._state == BODY:
            self._refuse(Refusal(408, "the request's body did not arrive in time"))
        else:
            self._close()

    def _expire_sending(self) -> None:
        """A slow reader may be slow; one that takes nothing for that long is cut."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self.deadline = self.edge.after(self.edge.limits.idle_timeout)
            return
        self.deadline = NEVER
        self.transport.abort()

    # Drain.

    def shutdown(self) -> None:
        """uvicorn drains: finish what runs, listen a moment longer to the idle.

        Closing an idle connection at once would cut the request that is just
        on its way.
        """
        self.edge.draining = True
        if self._state == HEAD:
            self.loop.call_later(self.edge.limits.drain_grace, self._close_idle)

    def _close_idle(self) -> None:
        if self._state == HEAD and not self._buffer:
            self._close()


def _address(name: object) -> tuple[str, int] | None:
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return None
