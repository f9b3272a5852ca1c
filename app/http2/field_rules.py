"""What a header field may be in HTTP/2, where it came from HTTP/1.1 (RFC 9113 §8.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..fields.field_parts import joined_values, size_of
from ..fields.headers import RawHeaders
from ..fields.names import CR, LF, NUL, TOKEN
from ..fields.remembering import Memo, remembering

CONNECTION_SPECIFIC = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""Fields of a connection of HTTP/1.1: a message that has one is malformed (RFC 9113 §8.2.2)."""
MAX_NAMES, MAX_NAME = 1024, 64
"""Names that are remembered, and bytes of one: clients and backends say the same few all day."""
MAX_TRAILERS, LARGEST_TRAILERS = 512, 512
"""How many trailers are remembered, and their size: those of most calls say that all went well."""
_READ = CONNECTION_SPECIFIC | {b"host", b"content-length", b"date"}
_LOWER = TOKEN.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@remembering(MAX_NAMES, MAX_NAME)
def lower_name(name: bytes) -> bytes:
    """`name` in lower case. Raises RuntimeError if it is none."""
    lower = name.lower()
    if not lower or lower.translate(None, _LOWER):
        raise RuntimeError("malformed field name")
    return lower


def _passes_as_it_is(name: bytes) -> bool:
    return lower_name(name) == name and name not in _READ


passes_as_it_is: Mapping[bytes, bool] = Memo(_passes_as_it_is, MAX_NAMES, MAX_NAME)
"""By a field's name, whether nobody need look at the field before it is sent. Raises RuntimeError
if it is no name."""


def check_values(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """No value may end its field in a version of HTTP before this one (RFC 9113 §10.3).

    Raises RuntimeError.
    """
    values = joined_values(fields)
    if LF in values or CR in values or NUL in values:
        raise RuntimeError("CR, LF or NUL in a field")


def trailer_section(trailers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Trailers: no pseudo-field is among them. Raises RuntimeError for what cannot be sent."""
    section = tuple(trailers)
    return _trailer_sections[section].copy() if section else []


def _trailer_section(trailers: tuple[tuple[bytes, bytes], ...]) -> RawHeaders:
    fields = [(lower_name(name), value) for name, value in trailers]
    check_values(fields)
    return fields


_trailer_sections = Memo(_trailer_section, MAX_TRAILERS, LARGEST_TRAILERS, size_of)
