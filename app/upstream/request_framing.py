"""A request as HTTP/1.1 writes it: its head, and its body as the head announces it. Pure."""

from __future__ import annotations

from ..errors import RequestBodyMismatch
from ..fields.headers import RawHeaders
from ..fields.known_fields import KnownRequest, RequestFields
from ..fields.names import LF, SPACE
from ..fields.trailers import Trailers

_NOT_ITSELF = "a line break or space where the request must have none"


def check_head(target: bytes, headers: RawHeaders) -> None:
    """Raises ValueError for a head that `request_head` would not write."""
    if LF in b"".join([target, *map(b"".join, headers)]) or SPACE in target:
        raise ValueError(_NOT_ITSELF)


def request_head(method: bytes, target: bytes, headers: RawHeaders) -> bytes:
    """Request line and fields. Raises ValueError if they would not stay what they are."""
    if isinstance(headers, RequestFields) and headers[:-1] == headers.known.fields:
        return _known_head(method, target, headers.known, headers[-1])
    lines = [method + b" " + target + b" HTTP/1.1", *map(b": ".join, headers)]
    # A line break or a space in a name, value or target would make another request of it. To join
    # them once more costs half of counting the breaks between them.
    if LF in b"".join(lines) or SPACE in target:
        raise ValueError(_NOT_ITSELF)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _known_head(
    method: bytes, target: bytes, known: KnownRequest, last: tuple[bytes, bytes]
) -> bytes:
    """The same, of fields that are known but for the last."""
    text = known.text
    if text is None:
        text = known.text = request_head(b"", b"", known.fields)[len(b"  HTTP/1.1\r\n") : -2]
    line = b": ".join(last)
    if LF in target or SPACE in target or LF in line or LF in method:
        raise ValueError(_NOT_ITSELF)
    return b"".join((method, b" ", target, b" HTTP/1.1\r\n", text, line, b"\r\n\r\n"))


def request_length(headers: RawHeaders) -> int | None:
    """Content-Length, or None for a body in chunks. Raises ValueError for neither."""
    if isinstance(headers, RequestFields) and headers.are_unchanged:
        known = headers.known
        if known.framing is None:
            known.framing = (_request_length(known.fields),)
        return known.framing[0]
    return _request_length(headers)


def _request_length(headers: RawHeaders) -> int | None:
    length = None
    for name, value in headers:
        size = len(name)  # two numbers are sooner compared than names
        if size == 14 and name == b"content-length":
            length = value
        elif size == 17 and name == b"transfer-encoding":
            return None
    if length is not None:
        return int(length)
    lower = [(name.lower(), value) for name, value in headers]
    if lower == headers:
        raise ValueError("a request body needs a length or a transfer coding")
    return _request_length(lower)


def length_left(start: bytes, length: int | None) -> int | None:
    """The length of what follows `start` in a body. Raises RequestBodyMismatch if it is short."""
    if length is None:
        return None
    if length < len(start):
        raise RequestBodyMismatch
    return length - len(start)


def check_length(body: bytes, length: int | None) -> None:
    """Raises RequestBodyMismatch for a whole body of another length than announced."""
    if length_left(body, length):
        raise RequestBodyMismatch


def last_chunk(trailers: Trailers = ()) -> bytes:
    """The end of a chunked body. Raises ValueError for a field that would not stay what it is."""
    end = b"\r\n".join([b"0", *map(b": ".join, trailers), b"", b""])
    if end.count(LF) != len(trailers) + 2:
        raise ValueError("a line break in a trailer")
    return end


def body_start(body: bytes, trailers: Trailers = (), *, chunked: bool, whole: bool) -> bytes:
    """The beginning of a body, or with `whole` all of it, with the framing of its head."""
    if not chunked:
        return body
    start = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return start + last_chunk(trailers) if whole else start
