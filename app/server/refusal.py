"""Requests that the edge refuses, and the answers to them."""

from __future__ import annotations

from http import HTTPStatus

from ..fields.names import CR, LF, NUL
from ..fields.remembering import remembering
from .dates import date_now

MORE_FIELDS = {405: b"allow: GET, HEAD\r\n", 503: b"retry-after: 1\r\n"}
"""Lines that go with the status of a refusal."""


class Refusal(Exception):
    """The edge answers the request itself, with `status`, and closes the connection.

    The text is one line for the client: it says what was wrong with *its* bytes
    and quotes none of them.
    """

    def __init__(self, status: int, reason: str, body: bytes | None = None) -> None:
        """`body`: what the client reads, if it is not made from status and reason."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self._body = body

    @property
    def body(self) -> bytes:
        """What the client reads."""
        return plain_body(self.status, self.reason) if self._body is None else self._body


def status_line(status: int, reason: bytes | None = None) -> bytes:
    """`HTTP/1.1 404 Not Found` with CRLF; the phrase of an unknown status is empty.

    Raises RuntimeError for a phrase that is not one line.

    >>> status_line(404)
    b'HTTP/1.1 404 Not Found\\r\\n'
    """
    return _status_line((status, reason))


@remembering(1024)  # backends say the same few all day
def _status_line(told: tuple[int, bytes | None]) -> bytes:
    status, reason = told
    if not reason:
        try:
            reason = HTTPStatus(status).phrase.encode("ascii")
        except ValueError:
            reason = b""
    elif LF in reason or CR in reason or NUL in reason:
        raise RuntimeError("CR, LF or NUL in the response's head")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def plain_response(status: int, text: str, fields: bytes = b"", *, to_head: bool = False) -> bytes:
    """A whole closing response in plain text; `fields` are extra lines, each with its CRLF.

    `to_head`: it answers a HEAD request, so it has no body (RFC 9110 §9.3.2).
    """
    body = plain_body(status, text)
    return (
        b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"cache-control: no-store\r\n%b%b\r\nconnection: close\r\n\r\n%b"
    ) % (status_line(status), len(body), fields, date_now(), b"" if to_head else body)


def plain_body(status: int, text: str) -> bytes:
    """The text of a refusal, with its status in front."""
    return b"%d %b\n" % (status, text.encode("ascii", "replace"))
