"""The answer to one HTTP/1 request: head and body in, bytes for the transport out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..fields.names import CR, LF, NUL
from ..fields.trailers import Trailers, takes_trailers
from ..system import kernel
from .answer_length import MeasuredAnswer
from .dates import date_now
from .field_lines import known_head, lines_of
from .half_close import CONTINUE
from .refusal import status_line

if TYPE_CHECKING:
    from .http1_connection import Http1Connection
    from .request_head import RequestHead

SMALL_BODY = 65536
"""Up to here a body is copied behind its head, so that both leave in one write."""


class Http1Stream(MeasuredAnswer):
    """Checks heads and frames bodies; the application has no say in the framing.

    With a Content-Length the body must have that length. Without one it is chunked. An
    HTTP/1.0 client does not understand chunks: there the close ends the body.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_head",
        "_keep_alive",
        "complete",
        "expects_continue",
        "started",
    )

    def __init__(self, connection: Http1Connection, request: RequestHead) -> None:
        self._connection = connection
        self._request = request
        self._keep_alive = request.keep_alive
        self.started = False
        self.complete = False
        self.expects_continue = request.expects_continue
        self._head = b""  # held for one turn of the loop, to leave with the body
        self._chunked = False
        self._left = 0

    @property
    def full(self) -> bool:
        """Whether the client is behind."""
        return self._connection.write_paused

    def untaken(self) -> int:
        """Bytes that the client's kernel has not taken."""
        return kernel.unacknowledged(self._connection.transport)

    def answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None,
        body: bytes, trailers: Trailers = (),
    ) -> None:  # fmt: skip
        """A whole answer at once."""
        request, connection = self._request, self._connection
        if (
            (head := known_head(status, headers, reason, len(body)))
            and self._keep_alive
            and request.http_version == "1.1"
            and request.method != b"HEAD"
            and not (self.expects_continue or connection.must_close())
            and len(body) <= SMALL_BODY
        ):
            self.started = True
        else:
            self._build_head(status, headers, reason)
            if len(body) != self._left or self._left > SMALL_BODY:
                self.send_body(body, bool(trailers))
                if trailers:
                    self.send_trailers(trailers)
                return
            head, self._head = self._head, b""
        connection.transport.write(head + body)
        self.complete = True
        connection.response_done(self._keep_alive, request.keep_alive)

    def send_head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None
    ) -> None:
        """Begin the answer; `reason` is in place of the status's own phrase."""
        self._build_head(status, headers, reason)
        self._connection.loop.call_soon(self._flush_head)

    def _build_head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None
    ) -> None:
        """The head, held until the body or a flush."""
        if status < 200:
            raise RuntimeError(f"{status} is no final status")
        text, length, dated, closes = lines_of(headers)
        if closes:
            self._keep_alive = False
        head = status_line(status, reason) + text
        if not dated:
            head += date_now() + b"\r\n"
        request = self._request
        http11 = request.http_version == "1.1"
        if request.method == b"HEAD" or status in (204, 304):
            length = 0
        elif length < 0:
            if http11:
                self._chunked = True
                head += b"transfer-encoding: chunked\r\n"
            else:
                self._keep_alive = False
        self._left = length
        # The client may or may not send the body that it asked about (Expect).
        if self.expects_continue or self._connection.must_close():
            self._keep_alive = False
        if not self._keep_alive:
            head += b"connection: close\r\n"
        elif not http11:
            head += b"connection: keep-alive\r\n"
        if status == 426 and http11:
            head += b"connection: upgrade\r\n"  # its Upgrade needs it (RFC 9110 §7.8)
        self.expects_continue = False
        self.started = True
        self._head = head + b"\r\n"

    def _flush_head(self) -> None:
        """Send the head alone if no body came at once: server-sent events wait for it."""
        if self._head:
            self._connection.transport.write(self._head)
            self._head = b""

    def send_body(self, data: bytes, more: bool) -> None:
        """Go on; without `more` the answer is complete."""
        if self._chunked:
            self._send_chunk(data, more)
        else:
            if self._left >= 0:
                data = self._measured(data, more)
            if self._head or data:
                self._write(b"", data, b"")
        if not more:
            self.complete = True
            self._connection.response_done(self._keep_alive, self._request.keep_alive)

    def send_trailers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """End the answer, with these fields if its body is chunked and the client takes them."""
        lines = [b"%b: %b\r\n" % field for field in headers]
        if not lines or not self._chunked or not takes_trailers(self._request.headers):
            self.send_body(b"", False)
            return
        self._write(b"0\r\n", _joined(lines), b"\r\n")
        self.complete = True
        self._connection.response_done(self._keep_alive, self._request.keep_alive)

    def _send_chunk(self, body: bytes, more: bool) -> None:
        end = b"" if more else b"0\r\n\r\n"
        if body:
            self._write(b"%x\r\n" % len(body), body, b"\r\n" + end)
        elif self._head or end:
            self._write(b"", b"", end)

    def _write(self, before: bytes, body: bytes, behind: bytes) -> None:
        """Write; a head that still waits goes in front."""
        head, self._head = self._head, b""
        if len(body) <= SMALL_BODY:
            self._connection.transport.write(head + before + body + behind)
        else:
            parts = (head + before, body, behind)
            self._connection.transport.writelines([part for part in parts if part])

    def refuse(self, status: int, text: str) -> None:
        """A whole answer of the server's own; it is the last of this connection."""
        self.started = self.complete = True
        to_head = self._request.method == b"HEAD"
        fields = b"retry-after: 1\r\n" if status == 503 else b""
        self._connection.answer_and_close(status, text, fields, to_head=to_head)

    def send_continue(self) -> None:
        """`100 Continue`, where the client may get an interim response now (RFC 9110 §15.2)."""
        self.expects_continue = False
        if not self.started and self._request.http_version == "1.1":
            self._connection.transport.write(CONTINUE)

    def send_interim(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A 1xx answer: HTTP/1.0 has none (RFC 9110 §15.2)."""
        if self.started or self._request.http_version != "1.1":
            return
        lines = [status_line(status), *(b"%b: %b\r\n" % field for field in headers), b"\r\n"]
        self._connection.transport.write(_joined(lines))

    def cut(self) -> None:
        """Break the answer off so that the client sees it.

        Where only the close delimits the body, an orderly close would be its end.
        """
        self._flush_head()
        self._connection.cut(reset=self._left < 0 and not self._chunked)

    def abandon(self) -> None:
        """The client has gone, or was cut."""
        self._head = b""

    def pause(self) -> None:
        """Hold the client back."""
        self._connection.pause_reading()

    def resume(self) -> None:
        """Let the client go on."""
        self._connection.resume_reading()


def _joined(lines: list[bytes]) -> bytes:
    """Lines with their CRLFs. Raises RuntimeError if one is not one line."""
    text = b"".join(lines)
    if text.count(LF) != len(lines) or text.count(CR) != len(lines) or NUL in text:
        raise RuntimeError("CR, LF or NUL in a field of the response")
    return text
