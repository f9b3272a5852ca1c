"""The sending half of an exchange: ASGI messages in, one HTTP/1.1 response out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected

from .refusal import status_line

if TYPE_CHECKING:
    from .http_protocol import HttpProtocol
    from .request_head import RequestHead

Message = MutableMapping[str, Any]

STATUS_LINES = {status: status_line(status) for status in range(200, 600)}
SMALL_BODY = 65536
"""Up to here a body is copied behind its head, so that both leave in one write."""


class Response:
    """Heads are checked, bodies framed; framing is ours, whatever the application says.

    With a length the body must be as long. Without one it is chunked, or to an
    HTTP/1.0 client ended by the close, which never understands chunks.
    """

    __slots__ = (
        "_chunked",
        "_continue",
        "_drained",
        "_head",
        "_left",
        "complete",
        "disconnected",
        "http11",
        "keep_alive",
        "last_by_request",
        "protocol",
        "started",
        "to_head",
        "transport",
    )

    def __init__(self, protocol: HttpProtocol, request: RequestHead) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self.http11 = request.http_version == "1.1"
        self.keep_alive = request.keep_alive
        self.last_by_request = not request.keep_alive
        self.started = False
        self.complete = False
        self.disconnected = False
        self.to_head = request.method == b"HEAD"
        self._continue = request.expects_continue
        self._head = b""  # held for one turn of the loop, to leave with the body
        self._chunked = False
        self._left = 0  # bytes of Content-Length still to send; -1 without
        self._drained: asyncio.Future[None] | None = None

    @property
    def close_delimited(self) -> bool:
        """Whether only the connection's close ends the body."""
        return self._left < 0 and not self._chunked

    async def send(self, message: Message) -> None:
        """ASGI's. Raises ClientDisconnected, an OSError, once the client has gone."""
        if self.disconnected:
            raise ClientDisconnected
        kind = message["type"]
        if kind == "http.response.body":
            if not self.started or self.complete:
                raise RuntimeError("http.response.body outside of a response")
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

    def resume(self) -> None:
        """The transport takes more (or is gone)."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes, body: bytes
    ) -> None:
        """Send a whole response at once: what two messages to `send` would."""
        self._build_head(status, headers, reason)
        self._send_body(body, False)

    def _start(self, message: Message) -> None:
        """`reason` (bytes) is ours, not ASGI's: a backend's own phrase."""
        self._build_head(message["status"], message.get("headers", ()), message.get("reason"))
        self.protocol.loop.call_soon(self._flush_head)

    def _build_head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None
    ) -> None:
        """The head, held until the body or a flush."""
        if status < 200:
            raise RuntimeError(f"{status} is no final status")
        line = STATUS_LINES.get(status)
        if line is None or reason is not None:
            line = status_line(status, reason or b"")
        lines, length = self._fields(headers)
        if self.to_head or status in (204, 304):
            length = 0
        elif length < 0:
            if self.http11:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked")
            else:
                self.keep_alive = False
        self._left = length
        # An unanswered expectation leaves open whether the body still comes.
        if self._continue or self.protocol.must_close():
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close")
        elif not self.http11:
            lines.append(b"connection: keep-alive")
        lines.append(b"\r\n")
        head = line + b"\r\n".join(lines)
        # One look at the whole: no field may end its line, or the head, by itself.
        ends = len(lines) + 1
        if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
            raise RuntimeError("CR, LF or NUL in the response's head")
        self._continue = False
        self.started = True
        self._head = head

    def _fields(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], int]:
        """The field lines without those that only we may write; Content-Length, or -1."""
        length = -1
        lines = []
        for field in headers:
            name = field[0].lower()
            if name == b"content-length":
                if length >= 0 or not field[1].isdigit():
                    raise RuntimeError("malformed or repeated Content-Length")
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
        if self._chunked:
            self._send_chunk(body, more)
        else:
            if self._left >= 0:
                body = self._measured(body, more)
            if self._head or body:
                self._write(b"", body, b"")
        if not more:
            self.complete = True
            self.protocol.response_done()

    def _measured(self, body: bytes, more: bool) -> bytes:
        """Count against Content-Length; a HEAD's body is dropped."""
        if self.to_head:
            return b""
        left = self._left - len(body)
        if left < 0:
            raise RuntimeError("the response is longer than its Content-Length")
        if left and not more:
            raise RuntimeError("the response is shorter than its Content-Length")
        self._left = left
        return body

    def _send_chunk(self, body: bytes, more: bool) -> None:
        end = b"" if more else b"0\r\n\r\n"
        if body:
            self._write(b"%x\r\n" % len(body), body, b"\r\n" + end)
        elif self._head or end:
            self._write(b"", b"", end)

    def _write(self, before: bytes, body: bytes, behind: bytes) -> None:
        """Write, behind the head if that still waits."""
        head, self._head = self._head, b""
        if len(body) <= SMALL_BODY:
            self.transport.write(head + before + body + behind)
        else:
            self.transport.writelines([part for part in (head + before, body, behind) if part])
