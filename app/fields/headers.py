"""Which fields the proxy passes on, drops or sets. Bytes in, bytes out; no I/O.

Names are lower-case throughout, as ASGI has them. Order and repeated fields
survive: a proxy must not merge Set-Cookie.
"""

from __future__ import annotations

from collections.abc import Sequence

from .known_fields import KnownFields, PassingFields
from .names import HOP_BY_HOP
from .passing import STRANGERS, Passing, Rule
from .trailers import WELCOME, takes_trailers
from .via import CDN_LOOP, VIA, refuse_loop

RawHeaders = list[tuple[bytes, bytes]]

MAX_LENGTH_DIGITS = 18

# A client that names these in `Connection` would remove the framing, the route or the
# credentials from the request. They are passed on all the same.
_NEVER_NAMED = frozenset({
    b"authorization", b"content-length", b"content-type", b"cookie", b"host", b"expect",
})  # fmt: skip
_LENGTH, _NOTHING = frozenset({b"content-length"}), frozenset[bytes]()
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})

CHUNKED = (b"transfer-encoding", b"chunked")
# An attribute of an Enum costs three times a global's price, and this is asked for each field.
_PASS, _STOP, _CONNECTION = Rule.PASS, Rule.STOP, Rule.CONNECTION


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """The fields that `Connection` marks as hop-by-hop (RFC 9110 §7.6.1); mostly none."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection" and value not in _PLAIN_CONNECTION:
            named |= {token.strip(b" \t") for token in value.lower().split(b",")}
    return named - _NEVER_NAMED


def request_headers(
    headers: RawHeaders, ours: Sequence[tuple[bytes, bytes]], passing: Passing = STRANGERS
) -> RawHeaders:
    """The fields of the request to the backend: those of the client that pass, then `ours`.

    What the client's `Connection` names is taken from the client's fields alone. A chunked
    body stays chunked; a body with a length keeps it.
    Raises LoopDetected for a request that passed here too often.
    """
    kept: RawHeaders = []
    unusual = False
    for item in headers:
        rule = passing[item[0]]
        if rule is _PASS:
            kept.append(item)
        elif rule is _CONNECTION:
            unusual |= item[1] not in _PLAIN_CONNECTION
        elif rule is not _STOP:
            unusual = True
            if rule is Rule.HOPS:
                kept.append(item)
    if unusual:
        return _unusual(headers, kept, ours)
    kept += ours
    return kept


def _unusual(
    headers: RawHeaders, kept: RawHeaders, ours: Sequence[tuple[bytes, bytes]]
) -> RawHeaders:
    """The same for a request with some field that asks for more, as calls of gRPC have them."""
    named = dict(headers)
    if VIA in named or CDN_LOOP in named:
        refuse_loop(headers, ours)
    drop = _named_by_connection(headers) if b"connection" in named else _NOTHING
    # A TE that Connection does not name has come from further off (RFC 9110 §10.1.4);
    # HTTP/2 has no Connection.
    welcome = b"te" in named and (b"te" in drop or b"connection" not in named)
    chunked = b"transfer-encoding" in named
    if chunked and b"content-length" in named:
        drop |= _LENGTH  # never both (RFC 9112 §6.3), whatever server is ours
    if drop:
        kept = [item for item in kept if item[0] not in drop]
    if welcome and (named[b"te"] == b"trailers" or takes_trailers(headers)):
        kept += WELCOME
    if chunked:
        kept.append(CHUNKED)
    kept += ours
    return kept


def response_headers(headers: RawHeaders, status: int) -> RawHeaders:
    """The fields of the answer to the client: the backend's end-to-end ones.

    The server frames the body. A length is kept if it may be there (RFC 9110
    §8.6: never in a 204).
    """
    if not isinstance(headers, KnownFields):
        return _end_to_end(headers, status)
    if headers.passing is None:
        headers.passing = _end_to_end(headers, status)
    passing = PassingFields(headers.passing)
    passing.known = headers
    return passing


def _end_to_end(headers: RawHeaders, status: int) -> RawHeaders:
    kept: RawHeaders = []
    drop: frozenset[bytes] = _LENGTH if status == 204 else _NOTHING
    for item in headers:
        name = item[0]
        if name not in HOP_BY_HOP:
            kept.append(item)
        elif name == b"connection" and item[1] not in _PLAIN_CONNECTION:
            drop |= _named_by_connection(headers)
    return [item for item in kept if item[0] not in drop] if drop else kept


def has_body(headers: RawHeaders) -> bool:
    """Whether the request announces a body (RFC 9112 §6.3); `Content-Length: 0` is none."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ")):
            return True
    return False


def plain_length(value: bytes) -> bytes | None:
    """A Content-Length that every parser reads alike, None where there is none (RFC 9110 §8.6).

    It is below 2**63, so that no parser behind us overflows. Leading zeros go,
    because some parsers read them as octal.

    >>> plain_length(b"007"), plain_length(b"+7")
    (b'7', None)
    """
    if len(value) > MAX_LENGTH_DIGITS or not value.isdigit():
        return None
    return b"%d" % int(value) if value.startswith(b"0") else value


def only(headers: RawHeaders, name: bytes) -> bytes | None:
    """The field of that (lower-case) name; None if there are several: a backend may read another.

    >>> only([(b"a", b"1")], b"a"), only([(b"a", b"1"), (b"a", b"2")], b"a")
    (b'1', None)
    """
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None


def field(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first field of that (lower-case) name."""
    for key, value in headers:
        if key == name:
            return value
    return None
