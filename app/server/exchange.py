"""One request and its response, as ASGI sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected

from app.server.refusal import status_line

if TYPE_CHECKING:
    from app.server.http_protocol import HttpProtocol
    from app.server.request_head import RequestHead

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]

logger = logging.getLogger(__name__)

STATUS_LINES = {status: status_line(status) for status in range(100, 600)}
SMALL_BODY = 65536
"""Up to here a body is copied behind its head, so that both leave in one write."""
UNREAD_LIMIT = 65536
"""Body bytes held for the application before reading pauses."""


class Exchange:
    """The ASGI callables of one request. An application gets it as the scope
    extension `hipache.connection`, for what ASGI has no message for:

    `on_disconnect(callback)` tells at once that the client has gone, without a
    task that waits in `receive`.
    """

    __slots__ = (
        "_body",
        "_buffered",
        "_chunked",
        "_continue",
        "_drained",
        "_head",
        "_is_head",
        "_left",
        "_on_disconnect",
        "_waiter",
        "body_complete",
        "complete",
        "disconnected",
        "http11",
        "keep_alive",
        "protocol",
        "started",
        "task",
        "transport",
    )

    def __init__(self, protocol: HttpProtocol, request: RequestHead) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self.http11 = request.http11
        self.keep_alive = request.keep_alive
        self.body_complete = request.length == 0
        self.started = False
        self.complete = False
        self.disconnected = False
        self.task: asyncio.Task[None] | None = None
        self._is_head = request.method == b"HEAD"
        self._continue = request.expects_continue
        self._body: list[bytes] = []
        self._buffered = 0
        self._head = b""  # held for one turn of the loop, to leave with the body
        self._chunked = False
        self._left = 0  # bytes of Content-Length still to send; -1: not counted
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._on_disconnect: Callable[[], object] | None = None

    async def run(self, app: App, scope: Message) -> None:
        """Call the application; see to it that the client gets an answer or sees a cut."""
        try:
            await app(scope, self.receive, self.send)
            if self.complete or self.disconnected:
                return
            logger.error("the application returned without completing its response")
        except asyncio.CancelledError:
            if not self.disconnected:
                self._fail()
            raise
        except ClientDisconnected:
            if not self.disconnected:
                raise
        except Exception:
            logger.exception("exception in the application")
        finally:
            self.protocol.tasks.discard(self.task)
        if not self.disconnected and not self.complete:
            self._fail()

    def _fail(self) -> None:
        """500 if nothing was sent yet; else a cut that can not be taken for an end."""
        if self.started:
            self.protocol.cut(close_delimited=self._left < 0 and not self._chunked)
        else:
            self.started = self.complete = True
            self.protocol.answer_and_close(500, "internal error")

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the client goes away before its answer is complete."""
        if self.disconnected:
            callback()
        else:
            self._on_disconnect = callback

    # From the protocol.

    def feed(self, data: bytes) -> bool:
        """Body bytes came; whether reading should go on."""
        if self.complete:
            return True
        self._body.append(data)
        self._buffered += len(data)
        self._wake()
        return self._buffered <= UNREAD_LIMIT

    def end_body(self) -> None:
        self.body_complete = True
        self._wake()

    def disconnect(self) -> None:
        if self.disconnected or self.complete:
            return
        self.disconnected = True
        self._body.clear()
        self._wake()
        self.resume()
        callback, self._on_disconnect = self._on_disconnect, None
        if callback is not None:
            callback()

    def resume(self) -> None:
        """The transport takes more (or is gone)."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ASGI.

    async def receive(self) -> Message:
        while True:
            if self.disconnected or self.complete:
                return {"type": "http.disconnect"}
            if self._body or (self.body_complete and self._buffered >= 0):
                return self._next_part()
            if self._continue:
                self._continue = False
                if not self.started:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = self.protocol.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _next_part(self) -> Message:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        if self.body_complete:
            self._buffered = -1  # the end has been told
        else:
            self._buffered = 0
            self._continue = False
            self.protocol.resume_reading()
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        if self.disconnected:
            raise ClientDisconnected
        kind = message["type"]
        if kind == "http.response.body":
            if not self.started or self.complete:
                raise RuntimeError("http.response.body before http.response.start or after the end")
            self._send_body(message.get("body", b""), message.get("more_body", False))
            if self.protocol.write_paused and not self.complete:
                await self._drain()
        elif kind == "http.response.start":
            if self.started:
                raise RuntimeError("a second http.response.start")
            self._start(message)
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    async def _drain(self) -> None:
        self._drained = self.protocol.loop.create_future()
        try:
            await self._drained
        finally:
            self._drained = None
        if self.disconnected:
            raise ClientDisconnected

    def _start(self, message: Message) -> None:
        status: int = message["status"]
        reason: bytes = message.get("reason", b"")  # not ASGI: the backend's own phrase
        line = status_line(status, reason) if reason else STATUS_LINES.get(status)
        lines, length = self._fields(message.get("headers", ()))
        bodiless = self._is_head or status in (204, 304)
        if length >= 0:
            self._left = 0 if bodiless else length
        elif not bodiless:
            self._left = -1
            if self.http11:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked")
            else:
                self.keep_alive = False
        if self.protocol.must_close(self):
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close")
        elif not self.http11:
            lines.append(b"connection: keep-alive")
        lines.append(b"\r\n")
        head = (line or status_line(status)) + b"\r\n".join(lines)
        # One look at the whole: no field may end its line, or the head, itself.
        if (
            head.count(b"\n") != len(lines) + 1
            or head.count(b"\r") != len(lines) + 1
            or b"\0" in head
        ):
            raise RuntimeError("CR, LF or NUL in the response's head")
        self._continue = False
        self.started = True
        self._head = head
        self.protocol.loop.call_soon(self._flush_head)

    def _fields(self, headers: list[tuple[bytes, bytes]]) -> tuple[list[bytes], int]:
        """The field lines, without those that frame: we do. And Content-Length, -1 without."""
        length = -1
        lines = []
        for field in headers:
            name = field[0].lower()
            if name == b"content-length":
                length = int(field[1])
            elif name == b"transfer-encoding":
                continue
            elif name == b"connection":
                if b"close" in field[1].lower():
                    self.keep_alive = False
                continue
            lines.append(b": ".join(field))
        return lines, length

    def _flush_head(self) -> None:
        """The body did not come at once: the head goes alone (server-sent events wait for it)."""
        if self._head and not self.disconnected:
            self.transport.write(self._head)
            self._head = b""

    def _send_body(self, body: bytes, more: bool) -> None:
        head, self._head = self._head, b""
        if self._left >= 0:
            self._left -= len(body)
            if self._is_head or self._left < 0:
                if not self._is_head:
                    raise RuntimeError("the response is longer than its Content-Length")
                self._left = 0
                body = b""
            elif self._left and not more:
                raise RuntimeError("the response is shorter than its Content-Length")
        elif self._chunked:
            end = b"" if more else b"0\r\n\r\n"
            if body:
                head += b"%x\r\n" % len(body)
                end = b"\r\n" + end
            self._write(head, body, end)
            body = head = b""
        if body or head:
            self._write(head, body)
        if not more:
            self.complete = True
            self._wake()
            self.protocol.response_done(self)

    def _write(self, head: bytes, body: bytes, end: bytes = b"") -> None:
        if len(body) <= SMALL_BODY:
            self.transport.write(head + body + end)
        else:
            self.transport.writelines([part for part in (head, body, end) if part])
