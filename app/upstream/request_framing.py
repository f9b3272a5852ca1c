"""A request as HTTP/1.1 writes it: its head, and its body as the head announces it. Pure."""

from __future__ import annotations

from ..errors import RequestBodyMismatch
from ..fields.headers import RawHeaders
from ..fields.names import LF, SPACE
from ..fields.trailers import Trailers


def request_head(method: bytes, target: bytes, headers: RawHeaders) -> bytes:
    """Request line and fields. Raises ValueError if they would not stay what they are."""
    line = method + b" " + target + b" HTTP/1.1"
    head = b"\r\n".join([line, *map(b": ".join, headers), b"", b""])
    # A line break or a space in a name, value or target would make another request of it.
    if head.count(LF) != len(headers) + 2 or SPACE in target:
        raise ValueError("a line break or space where the request must have none")
    return head


def request_length(headers: RawHeaders) -> int | None:
    """Content-Length, or None for a body in chunks. Raises ValueError for neither."""
    fields = {name.lower(): value for name, value in headers}
    if b"transfer-encoding" in fields:
        return None
    if b"content-length" not in fields:
        raise ValueError("a request body needs a length or a transfer coding")
    return int(fields[b"content-length"])


def last_chunk(trailers: Trailers = ()) -> bytes:
    """The end of a chunked body. Raises ValueError for a field that would not stay what it is."""
    end = b"\r\n".join([b"0", *map(b": ".join, trailers), b"", b""])
    if end.count(LF) != len(trailers) + 2:
        raise ValueError("a line break in a trailer")
    return end


def framed_start(body: bytes, length: int | None) -> tuple[bytes, int | None]:
    """The beginning of a body as its head announces it, and the length of its rest."""
    if length is None:
        return b"%x\r\n%b\r\n" % (len(body), body) if body else b"", None
    if length < len(body):
        raise RequestBodyMismatch
    return body, length - len(body)


def framed_body(body: bytes, length: int | None, trailers: Trailers = ()) -> bytes:
    """A body held whole, as its head announces it; `trailers` follow a chunked one."""
    if length is None:
        return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + last_chunk(trailers)
    if length != len(body):
        raise RequestBodyMismatch
    return body
