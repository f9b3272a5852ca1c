"""A request's fields for a backend over HTTP/2 (RFC 9113 §8.3.1). Pure."""

from __future__ import annotations

from itertools import compress
from typing import NamedTuple

from ...fields.field_parts import Names, by_names, names_of
from ...fields.headers import RawHeaders
from ...fields.known_fields import RequestFields
from ...fields.names import SPACE
from ...http2.field_rules import CONNECTION_SPECIFIC, check_values, lower_name

_SPACE_IN_TARGET = "a space in the request's target"
_DROPPED = CONNECTION_SPECIFIC | {b"host"}


class _Shape(NamedTuple):
    """What becomes of fields with certain names, in their order."""

    lower: Names | None
    """How they are written; None if they are in lower case already."""
    kept: tuple[bool, ...]
    """Which ones go on as they are."""
    host: int
    """Where `Host` is, -1 without one."""


def _shape(names: Names) -> _Shape:
    """Raises RuntimeError for what is no name."""
    lower = tuple(map(lower_name, names))
    kept = tuple(name not in _DROPPED for name in lower)
    host = lower.index(b"host") if b"host" in lower else -1
    return _Shape(None if lower == names else lower, kept, host)


_shapes = by_names(_shape)


def request_section(method: bytes, target: bytes, headers: RawHeaders, scheme: bytes) -> RawHeaders:
    """All fields of a request, `Host` as `:authority`.

    Raises RuntimeError for what would not stay what it is.
    """
    if isinstance(headers, RequestFields) and headers.are_unchanged:
        return _known_section(method, target, headers, scheme)
    lower, kept, host = _shapes[names_of(headers)]
    fields = [(b":method", method), (b":scheme", scheme), (b":path", target)]
    if host >= 0:
        fields.insert(2, (b":authority", headers[host][1]))
    if lower is not None:
        headers = [(name, value) for name, (_, value) in zip(lower, headers, strict=True)]
    fields += compress(headers, kept)
    check_values(fields)
    if SPACE in target:
        raise RuntimeError(_SPACE_IN_TARGET)
    return fields


def _known_section(
    method: bytes, target: bytes, headers: RequestFields, scheme: bytes
) -> RawHeaders:
    """The same, of fields that are known but for the last."""
    known = headers.known
    section = known.section
    if section is None or section[1][1] != scheme:
        section = known.section = request_section(b"", b"", known.fields, scheme)
    own = (b":method", method), (b":path", target), headers[-1]
    check_values(own)
    if SPACE in target:
        raise RuntimeError(_SPACE_IN_TARGET)
    fields = [*section, own[2]]
    fields[0] = own[0]
    fields[3 if fields[2][0] == b":authority" else 2] = own[1]
    return fields


def web_socket_section(
    method: bytes, target: bytes, headers: RawHeaders, scheme: bytes
) -> RawHeaders:
    """A handshake of HTTP/1.1 as an extended CONNECT (RFC 8441 §5), which has no key.

    Raises RuntimeError for what would not stay what it is.
    """
    fields = [field for field in headers if field[0] != b"sec-websocket-key"]
    section = request_section(method, target, fields, scheme)
    section.insert(1, (b":protocol", b"websocket"))
    return section
