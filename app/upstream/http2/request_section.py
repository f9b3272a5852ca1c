"""A request's fields for a backend over HTTP/2 (RFC 9113 §8.3.1). Pure."""

from __future__ import annotations

from ...errors import UpstreamBadAnswer
from ...fields.headers import RawHeaders
from ...fields.names import SPACE
from ...http2.field_rules import CONNECTION_SPECIFIC, check_values, lower_name, passes_as_it_is
from ..framing import checked_length

_DROPPED = CONNECTION_SPECIFIC | {b"host"}


def request_section(method: bytes, target: bytes, headers: RawHeaders, scheme: bytes) -> RawHeaders:
    """All fields of a request, `Host` as `:authority`.

    Raises RuntimeError for what would not stay what it is.
    """
    fields = [(b":method", method), (b":scheme", scheme), (b":path", target)]
    for item in headers:
        if passes_as_it_is[item[0]]:
            fields.append(item)
            continue
        name, value = lower_name(item[0]), item[1]
        if name == b"host":
            fields.insert(2, (b":authority", value))
        elif name not in _DROPPED:
            fields.append((name, value))
    check_values(fields)
    if SPACE in target:
        raise RuntimeError("a space in the request's target")
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


def status_and_fields(section: RawHeaders) -> tuple[int, RawHeaders]:
    """An answer's `:status`, and its other fields. Raises UpstreamBadAnswer."""
    fields = []
    status = 0
    for item in section:
        if item[0] == b":status":
            status = int(item[1])
        elif item[0] == b"content-length":
            fields.append((item[0], checked_length(item[1])))
        else:
            fields.append(item)
    if status < 100:
        raise UpstreamBadAnswer(f"the backend's answer has an invalid status: {status}")
    return status, fields
