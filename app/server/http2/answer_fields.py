"""The fields of an answer over HTTP/2 (RFC 9113 §8.3.2): what ASGI gives in, the engine's out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from time import time

from ...fields.headers import RawHeaders
from ...fields.names import CR, LF, NUL, TOKEN
from ..dates import date_of

_DROPPED = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""Fields of a connection of HTTP/1.1: an answer that has one is malformed (RFC 9113 §8.2.2)."""
_READ = _DROPPED | {b"content-length", b"date"}
_LOWER = TOKEN.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_status = [(b":status", b"%d" % status) for status in range(1000)]


@lru_cache(maxsize=1024)  # backends say the same few all day
def _name(name: bytes) -> bytes:
    """`name` in lower case. Raises RuntimeError if it is none."""
    lower = name.lower()
    if not lower or lower.translate(None, _LOWER):
        raise RuntimeError("malformed field name in the response's head")
    return lower


def final_fields(status: int, headers: Iterable[tuple[bytes, bytes]]) -> tuple[RawHeaders, int]:
    """All fields of a final answer, and its Content-Length or -1.

    Raises RuntimeError for what cannot be sent.
    """
    if not 200 <= status <= 999:
        raise RuntimeError(f"{status} is no final status")
    fields = [_status[status]]
    length = -1
    dated = False
    for name, value in headers:
        name = _name(name)
        if name in _READ:
            if name == b"date":
                dated = True
            elif name == b"content-length":
                if length >= 0 or not value.isdigit():
                    raise RuntimeError("malformed or repeated Content-Length")
                length = int(value)
            else:
                continue
        fields.append((name, value))
    if not dated:
        fields.append((b"date", date_of(int(time()))))
    _check_values(fields)
    return fields, length


def interim_fields(status: int, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """All fields of a 1xx answer. Raises RuntimeError as `final_fields` does."""
    named = [(_name(name), value) for name, value in headers]
    fields = [_status[status], *(field for field in named if field[0] not in _DROPPED)]
    _check_values(fields)
    return fields


def trailer_fields(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Trailers: no pseudo-field is among them. Raises RuntimeError as `final_fields` does."""
    fields = [(_name(name), value) for name, value in headers]
    _check_values(fields)
    return fields


def _check_values(fields: RawHeaders) -> None:
    """No value may end its field in a version of HTTP before this one (RFC 9113 §10.3)."""
    values = b"".join([value for _, value in fields])
    if LF in values or CR in values or NUL in values:
        raise RuntimeError("CR, LF or NUL in the response's head")
