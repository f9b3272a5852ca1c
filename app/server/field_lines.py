"""The field lines of an answer's head over HTTP/1. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..fields.known_fields import FieldLines, PassingFields
from ..fields.names import CR, LF, NUL
from .refusal import status_line

READ = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})
"""Fields of an answer that tell us something."""
UNUSUAL = frozenset({*range(100, 200), 204, 304, 426})
"""Statuses whose answers have no body, or one more field."""


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> FieldLines:
    """The lines of these fields, made only once for those of an answer that is known."""
    if not isinstance(headers, PassingFields):
        return field_lines(headers)
    known = headers.known
    if headers != known.passing:  # something was added
        return field_lines(headers)
    if known.lines is None:
        known.lines = field_lines(headers)
    return known.lines


def known_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None, length: int
) -> bytes | None:
    """The head of an answer that is known, if a client over HTTP/1.1 gets no more than that, and
    a body of this length."""
    if not isinstance(headers, PassingFields):
        return None
    known = headers.known
    if headers != known.passing:  # something was added
        return None
    text, announced, dated, closes = known.lines or lines_of(headers)
    if known.head is None:
        whole = dated and not closes and status not in UNUSUAL
        known.head = status_line(status, reason) + text + b"\r\n" if whole else b""
    return known.head if announced == length else None


def field_lines(headers: Iterable[tuple[bytes, bytes]]) -> FieldLines:
    """The lines of an answer's head. Raises RuntimeError for fields that cannot be sent."""
    length = -1
    dated = closes = False
    lines = []
    for field in headers:
        name = field[0]
        if not name.islower():  # as ASGI has it; a copy would have to be hashed again
            name = name.lower()
        if name in READ:
            if name == b"date":
                dated = True
            elif name == b"content-length":
                if length >= 0 or not field[1].isdigit():
                    raise RuntimeError("malformed or repeated Content-Length")
                length = int(field[1])
            else:
                closes |= name == b"connection" and b"close" in field[1].lower()
                continue
        lines.append(b": ".join(field))
    # Checked once for the whole head: no field may end its line, or the head.
    text = b"".join(lines)
    if LF in text or CR in text or NUL in text:
        raise RuntimeError("CR, LF or NUL in the response's head")
    lines.append(b"")
    return FieldLines(b"\r\n".join(lines), length, dated, closes)
