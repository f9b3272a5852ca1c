"""A request's head over HTTP/2 (RFC 9113 §8): decoded fields in, `RequestHead` out.

The same rules hold as for a head of HTTP/1.1, from the same tables: a backend speaks
HTTP/1.1, and must read in it what the client has written. Pure: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...fields.headers import CHUNKED, RawHeaders
from ...fields.names import TOKEN
from ..refusal import Refusal
from ..request_fields import CONTROLS
from ..request_head import RequestHead, join_repeated, read_expectation, read_framing
from ..request_target import HOST, TARGET, origin

if TYPE_CHECKING:
    from ..edge import ClientLimits

VERSION = "2"

_COLON = 0x3A
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_NAME = TOKEN.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_FIELD_OVERHEAD = 32  # octets that each field counts beside its own (RFC 9113 §6.5.2)
_LINE_OVERHEAD = len("  HTTP/1.1")
_CONNECTION_SPECIFIC = frozenset({
    b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade",
})  # fmt: skip


def read_head(
    fields: Sequence[tuple[bytes, bytes]], limits: ClientLimits, *, ended: bool
) -> RequestHead:
    """The request in a decoded field section; `ended`: no body follows.

    Raises Refusal.
    """
    first = _count_pseudo(fields)
    pseudo = dict(fields[:first])
    if len(pseudo) != first or not _PSEUDO.issuperset(pseudo):
        raise Refusal(400, "unknown or repeated pseudo-header field")
    headers: RawHeaders = list(fields[first:])
    _check_legal(pseudo, headers, limits)
    named = dict(headers)
    if b"" in named:
        raise Refusal(400, "malformed header field name")
    if len(named) != len(headers):
        headers = _join_crumbs(headers, named)
        join_repeated(headers, named)
    if len(headers) > limits.headers:
        raise Refusal(431, "too many header fields")
    _check_connection_specific(named)
    web_socket = _asks_web_socket(pseudo)
    method, target = _method_and_target(pseudo, limits.request_line)
    headers = _with_host(pseudo, headers, named)
    request = RequestHead(method, target, VERSION, headers, keep_alive=True)
    if web_socket:
        request.method, request.upgrade, request.length = b"GET", b"websocket", -1
    else:
        _read_body(request, named, ended=ended)
    request.asks_debug = b"x-debug" in named
    return request


def beginning(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Request line and `Host` of a head that is refused, for the log."""
    found = dict(fields)
    host = found.get(b":authority", found.get(b"host", b""))
    line = found.get(b":method", b""), found.get(b":path", b"")
    return b"%b %b HTTP/2\r\nHost: %b\r\n" % (*line, host)


def _count_pseudo(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """How many pseudo-fields there are; they come first (RFC 9113 §8.3)."""
    count = 0
    for name, _ in fields:
        if not name or name[0] != _COLON:
            break
        count += 1
    return count


def _check_legal(pseudo: dict[bytes, bytes], headers: RawHeaders, limits: ClientLimits) -> None:
    """Names and values that would be something else in HTTP/1.1, and the size of all."""
    names = b"\n".join([name for name, _ in headers])
    values = b"\n".join([value for _, value in headers])
    ends = max(0, len(headers) - 1)
    if len(names.translate(None, _NAME)) != ends:
        raise Refusal(400, "malformed header field name")
    if len(values) - len(values.translate(None, CONTROLS)) != ends:
        raise Refusal(400, "control character in a header field")
    size = len(names) + len(values) + _FIELD_OVERHEAD * (len(headers) + len(pseudo))
    if size + sum(len(name) + len(value) for name, value in pseudo.items()) > limits.head:
        raise Refusal(431, "the request's head is too large")


def _join_crumbs(headers: RawHeaders, named: dict[bytes, bytes]) -> RawHeaders:
    """Cookie may be split, for better compression; HTTP/1.1 wants it whole (RFC 9113 §8.2.3)."""
    crumbs = [value for name, value in headers if name == b"cookie"]
    if len(crumbs) < 2:
        return headers
    whole = named[b"cookie"] = b"; ".join(crumbs)
    at = next(index for index, field in enumerate(headers) if field[0] == b"cookie")
    joined = [field for field in headers if field[0] != b"cookie"]
    joined.insert(at, (b"cookie", whole))
    return joined


def _check_connection_specific(named: dict[bytes, bytes]) -> None:
    """RFC 9113 §8.2.2."""
    if not _CONNECTION_SPECIFIC.isdisjoint(named):
        raise Refusal(400, "a header field of the connection's in HTTP/2")
    if named.get(b"te", b"trailers").lower() != b"trailers":
        raise Refusal(400, "TE may only be trailers in HTTP/2")


def _asks_web_socket(pseudo: dict[bytes, bytes]) -> bool:
    """Whether it is an extended CONNECT (RFC 8441 §4)."""
    protocol = pseudo.get(b":protocol")
    if pseudo.get(b":method") != b"CONNECT":
        if protocol is not None:
            raise Refusal(400, "a protocol without CONNECT")
        return False
    if protocol is None:
        raise Refusal(405, "CONNECT is not served here")
    if protocol.lower() != b"websocket":
        raise Refusal(501, "WebSockets are the only protocol served by CONNECT")
    return True


def _method_and_target(pseudo: dict[bytes, bytes], longest_line: int) -> tuple[bytes, bytes]:
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not method or method.translate(None, TOKEN):
        raise Refusal(400, "malformed method")
    if pseudo.get(b":scheme", b"").lower() not in (b"http", b"https"):
        raise Refusal(400, "the scheme is neither http nor https")
    if len(method) + len(target) + _LINE_OVERHEAD > longest_line:
        raise Refusal(414, "the request line is too long")
    if not target or target.translate(None, TARGET):
        raise Refusal(400, "malformed request target")
    if target[0] != 0x2F and (target != b"*" or method != b"OPTIONS"):
        raise Refusal(400, "malformed request target")
    return method, target


def _with_host(
    pseudo: dict[bytes, bytes], headers: RawHeaders, named: dict[bytes, bytes]
) -> RawHeaders:
    """`headers`, `:authority` in front as `Host`; the two must agree (RFC 9113 §8.3.1)."""
    authority, host = pseudo.get(b":authority"), named.get(b"host")
    if authority is None:
        if host is None:
            raise Refusal(400, "no host header")
        if host.translate(None, HOST):
            raise Refusal(400, "malformed host header")
        return headers
    if not authority or authority.translate(None, HOST):
        raise Refusal(400, "malformed authority")
    if host is not None:
        scheme = pseudo[b":scheme"].lower()
        if origin(host, scheme) != origin(authority, scheme):
            raise Refusal(400, "Host contradicts the authority")
        headers = [field for field in headers if field[0] != b"host"]
    return [(b"host", authority), *headers]


def _read_body(request: RequestHead, named: dict[bytes, bytes], *, ended: bool) -> None:
    """How long the body is; without a length it is chunked towards the backend."""
    read_framing(request, named)
    if ended:
        request.length = 0
    elif b"content-length" not in named:
        request.length = -1
        request.headers.append(CHUNKED)
    if (expectation := named.get(b"expect")) is not None:
        read_expectation(request, expectation)
