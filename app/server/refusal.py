"""Requests that the edge refuses, and the answers to them."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

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


@lru_cache(maxsize=1024)  # backends say the same few all day
def status_line(status: int, reason: bytes | None = None) -> bytes:
    """`HTTP/1.1 404 Not Found` with CRLF; the phrase of an unknown status is empty.

    >>> status_line(404)
    b'HTTP/1.1 404 Not Found\\r\\n'
    """
    if not reason:
        try:
            reason = HTTPStatus(status).phrase.encode("ascii")
        except ValueError:
            reason = b""
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
