"""A request's head over HTTP/2 (RFC 9113 §8): decoded fields in, `RequestHead` out.

The same rules hold as for a head of HTTP/1.1, from the same tables: a backend speaks
HTTP/1.1, and must read in it what the client has written. Pure: no socket, no clock.

Clients repeat themselves: all pseudo-fields together, and all other fields together, are
looked up among those that were read before, which costs a fifth of reading them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ...fields.headers import CHUNKED, RawHeaders
from ...fields.names import CONTROLS, TOKEN
from ..refusal import Refusal
from ..request_head import RequestHead, join_repeated, read_expectation, read_framing
from ..request_target import HOST, TARGET, origin

if TYPE_CHECKING:
    from ..edge import ClientLimits

VERSION = "2"
FieldSection = tuple[tuple[bytes, bytes], ...]
"""A decoded field section, or a part of it."""
PartT = TypeVar("PartT", "Line", "Rest")

_COLON = 0x3A
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_NAME = TOKEN.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_FIELD_OVERHEAD = 32  # octets that each field counts beside its own (RFC 9113 §6.5.2)
LINE_OVERHEAD = len("  HTTP/1.1")
_CONNECTION_SPECIFIC = frozenset({
    b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade",
})  # fmt: skip

_ABOUT_BODY = frozenset({
    b"content-length", b"expect", b"content_length", b"transfer_encoding",  # read_framing's
})  # fmt: skip


class Line(NamedTuple):
    """What would be the request line and `Host` in HTTP/1.1."""

    size: int
    """As the limit for the whole head counts it."""
    method: bytes
    target: bytes
    scheme: bytes
    authority: bytes | None
    web_socket: bool
    """It is an extended CONNECT (RFC 8441 §4)."""


class Rest(NamedTuple):
    """All other fields; nobody may change it, since it is shared."""

    size: int
    headers: RawHeaders
    named: dict[bytes, bytes]
    """By name; those that we read ourselves are joined."""
    about_body: bool
    """Some tell of the body."""
    asks_debug: bool


class Remembered(dict[FieldSection, PartT], Generic[PartT]):
    """Parts of heads as read before. It is emptied when it is full, and has no large ones."""

    MOST, LARGEST = 512, 2048  # parts, and bytes as the limit for a head counts them

    def __init__(self, read: Callable[[FieldSection], PartT]) -> None:
        """`read` reads a part that is not remembered."""
        super().__init__()
        self._read: Callable[[FieldSection], PartT] = read

    def __missing__(self, fields: FieldSection) -> PartT:
        """Raises Refusal."""
        part = self._read(fields)
        if part.size <= self.LARGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[fields] = part
        return part


def read_head(
    fields: FieldSection, limits: ClientLimits, *, ended: bool
) -> tuple[RequestHead, int]:
    """The request in a decoded field section, and its size; `ended`: no body follows.

    Raises Refusal.
    """
    first = _count_pseudo(fields)
    line, rest = _lines[fields[:first]], _rests[fields[first:]]
    _check_size(line, rest, limits)
    headers = _with_host(line, rest)
    request = RequestHead(line.method, line.target, VERSION, headers, keep_alive=True)
    request.asks_debug = rest.asks_debug
    if line.web_socket:
        request.method, request.upgrade, request.length = b"GET", b"websocket", -1
    elif rest.about_body or not ended:
        _read_body(request, rest.named, ended=ended)
    return request, line.size + rest.size


def beginning(fields: FieldSection) -> bytes:
    """Request line and `Host` of a head that is refused, for the log."""
    found = dict(fields)
    host = found.get(b":authority", found.get(b"host", b""))
    line = found.get(b":method", b""), found.get(b":path", b"")
    return b"%b %b HTTP/2\r\nHost: %b\r\n" % (*line, host)


def _count_pseudo(fields: FieldSection) -> int:
    """How many pseudo-fields there are; they come first (RFC 9113 §8.3)."""
    count = 0
    for name, _ in fields:
        if not name or name[0] != _COLON:
            break
        count += 1
    return count


def _check_size(line: Line, rest: Rest, limits: ClientLimits) -> None:
    if len(line.method) + len(line.target) + LINE_OVERHEAD > limits.request_line:
        raise Refusal(414, "the request line is too long")
    if line.size + rest.size > limits.head:
        raise Refusal(431, "the request's head is too large")
    if len(rest.headers) > limits.headers:
        raise Refusal(431, "too many header fields")


def _size(fields: FieldSection) -> int:
    """As RFC 9113 §6.5.2 counts."""
    return sum([len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields])


# Pseudo-fields.


def _read_line(fields: FieldSection) -> Line:
    pseudo = dict(fields)
    if len(pseudo) != len(fields) or not _PSEUDO.issuperset(pseudo):
        raise Refusal(400, "unknown or repeated pseudo-header field")
    web_socket = _asks_web_socket(pseudo)
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not method or method.translate(None, TOKEN):
        raise Refusal(400, "malformed method")
    scheme = pseudo.get(b":scheme", b"").lower()
    if scheme not in (b"http", b"https"):
        raise Refusal(400, "the scheme is neither http nor https")
    if not target or target.translate(None, TARGET):
        raise Refusal(400, "malformed request target")
    if target[0] != 0x2F and (target != b"*" or method != b"OPTIONS"):
        raise Refusal(400, "malformed request target")
    authority = pseudo.get(b":authority")
    if authority is not None and (not authority or authority.translate(None, HOST)):
        raise Refusal(400, "malformed authority")
    return Line(_size(fields), method, target, scheme, authority, web_socket)


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


# All other fields.


def _read_rest(fields: FieldSection) -> Rest:
    _check_legal(fields)
    headers, named = list(fields), dict(fields)
    if len(named) != len(headers):
        headers = _join_crumbs(headers, named)
        join_repeated(headers, named)
    if not _CONNECTION_SPECIFIC.isdisjoint(named):  # RFC 9113 §8.2.2
        raise Refusal(400, "a header field of the connection's in HTTP/2")
    if named.get(b"te", b"trailers").lower() != b"trailers":
        raise Refusal(400, "TE may only be trailers in HTTP/2")
    about_body = not _ABOUT_BODY.isdisjoint(named)
    return Rest(_size(fields), headers, named, about_body, b"x-debug" in named)


def _check_legal(fields: FieldSection) -> None:
    """Names and values that would be something else in HTTP/1.1."""
    names = b"\n".join([name for name, _ in fields])
    values = b"\n".join([value for _, value in fields])
    ends = max(0, len(fields) - 1)
    if len(names.translate(None, _NAME)) != ends or any(not name for name, _ in fields):
        raise Refusal(400, "malformed header field name")
    if len(values) - len(values.translate(None, CONTROLS)) != ends:
        raise Refusal(400, "control character in a header field")


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


# Both together.


def _with_host(line: Line, rest: Rest) -> RawHeaders:
    """The fields, `:authority` in front as `Host`; the two must agree (RFC 9113 §8.3.1)."""
    authority, host = line.authority, rest.named.get(b"host")
    if host is None:
        if authority is None:
            raise Refusal(400, "no host header")
        return [(b"host", authority), *rest.headers]
    if host.translate(None, HOST):
        raise Refusal(400, "malformed host header")
    if authority is None:
        return rest.headers.copy()
    if origin(host, line.scheme) != origin(authority, line.scheme):
        raise Refusal(400, "Host contradicts the authority")
    return [(b"host", authority), *[field for field in rest.headers if field[0] != b"host"]]


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


_lines, _rests = Remembered(_read_line), Remembered(_read_rest)
