"""The one place that decides what a legal request is: bytes of a head in, `RequestHead` out.

Pure: no socket, no clock. A head that could be read in two ways is refused, so
every parser behind us reads the same request. Nothing is repaired, nothing is
parsed a second time. llhttp is not used for requests: it knows only
its own list of methods, and does not tell where a request ended (its pause at
`Upgrade` is how uvicorn's stock class lets a second request through).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..fields.headers import RawHeaders, plain_length
from ..fields.names import TOKEN
from ..fields.remembering import remembering
from .refusal import Refusal
from .repetition import Repetition
from .request_fields import REMEMBERED_LINE, parse_fields
from .request_target import HOST, TARGET, reduce_target

_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding"})
# Backends in CGI's tradition read "_" as "-" (RFC 3875 §4.1.18).
_DISGUISED = (b"content_length", b"transfer_encoding")

EMPTY_LINES = re.compile(rb"(?:\r\n)*")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]\Z")


@dataclass(slots=True)
class RequestHead:
    """A legal request's head, as sent; only an absolute-form target is taken apart."""

    method: bytes
    target: bytes
    """Exact bytes, origin-form or `*`: an empty query keeps its `?`."""
    http_version: str
    """`1.1`, `1.0` or `2`."""
    headers: RawHeaders
    """Names lower-case, values without the white space around them; order and repeats kept."""
    keep_alive: bool
    """Whether the client lets the connection go on (RFC 9112 §9.3)."""
    length: int = 0
    """Bytes of the body; -1 for a chunked one."""
    expects_continue: bool = False
    upgrade: bytes = b""
    """The lower-case `Upgrade` field if `Connection` names it, else empty.

    `websocket` only in a GET without a body (RFC 6455 §4.1); of any other
    protocol nothing follows, the request is the plain one that it also is.
    """
    asks_debug: bool = False
    """Whether there is an `X-Debug` field: looked up here, while the fields are in a dict."""
    repetition: Repetition | None = None
    """Where nothing but the target differs from a head before of the same client."""

    def again(self) -> RequestHead:
        """A copy, whose fields are for the caller to set."""
        return RequestHead(
            self.method, self.target, self.http_version, [], self.keep_alive, self.length,
            self.expects_continue, self.upgrade, self.asks_debug, self.repetition,
        )  # fmt: skip

    @property
    def beginning(self) -> bytes:
        """Its request line and `Host`, for the log of a later refusal."""
        host = dict(self.headers).get(b"host", b"")
        version = self.http_version.encode()
        return b"%b %b HTTP/%b\r\nHost: %b\r\n" % (self.method, self.target, version, host)


def parse_request_line(line: bytes) -> tuple[bytes, bytes, str]:
    """Method, target and version, `1.1` or `1.0` (RFC 9112 §3).

    Raises Refusal: 400 if it is no request line, 505 for another version.
    """
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Refusal(400, "malformed request line")
    method, target, version = parts
    if not method or method.translate(None, TOKEN):
        raise Refusal(400, "malformed method")
    if version == b"HTTP/1.1":
        http_version = "1.1"
    elif version == b"HTTP/1.0":
        http_version = "1.0"
    elif _VERSION.match(version):
        raise Refusal(505, "this server speaks HTTP/1.1 and HTTP/1.0")
    else:
        raise Refusal(400, "malformed HTTP version")
    if not target or target.translate(None, TARGET):
        raise Refusal(400, "malformed request target")
    return method, target, http_version


parse_line = remembering(1024, longest=REMEMBERED_LINE)(parse_request_line)
"""The same, remembered."""


def check_size(data: bytes, size: int, request_line: int, head: int) -> None:
    """Refuse a head of `size` bytes, complete or not, if it is over a limit: 414 or 431."""
    if size <= request_line and size <= head:
        return
    line = data.find(b"\r\n", 0, request_line + 2)
    if line < 0 or line > request_line:
        raise Refusal(414, "the request line is too long")
    if size > head:
        raise Refusal(431, "the request's head is too large")


def check_beginning(data: bytes) -> None:
    """Refuse early a beginning that no further byte can mend: TLS, a bare LF, noise."""
    end = data.find(b"\r\n")
    if end >= 0:
        parse_request_line(data[:end])
    elif b"\n" in data or (data and data[0] <= 0x20 and data != b"\r"):
        raise Refusal(400, "malformed request line")


def parse_head(head: bytes, *, max_headers: int = 200, secure: bool = False) -> RequestHead:
    """Parse a head, given without the two CRLFs at its end.

    `secure` says that the bytes came over TLS. Raises Refusal.
    """
    lines = head.split(b"\r\n")
    if len(lines) > max_headers + 1:
        raise Refusal(431, "too many header fields")
    method, target, version = parse_line(lines[0])
    headers = parse_fields(lines[1:])
    fields = dict(headers)
    if len(fields) != len(headers):
        join_repeated(headers, fields)
    host = fields.get(b"host")
    http11 = version == "1.1"
    if host is None:
        if http11:
            raise Refusal(400, "no host header")
    elif host.translate(None, HOST):
        raise Refusal(400, "malformed host header")
    if target[0] != 0x2F or method == b"CONNECT":
        target, authority = reduce_target(method, target, host, secure=secure)
        if authority is not None:
            headers = [field for field in headers if field[0] != b"host"]
            headers.insert(0, (b"host", authority))
    request = RequestHead(method, target, version, headers, http11)
    if host is None or len(fields) > 1:  # a lone Host says nothing about framing
        read_framing(request, fields)
        _read_connection(request, fields)
        request.asks_debug = b"x-debug" in fields
    return request


def join_repeated(headers: RawHeaders, fields: dict[bytes, bytes]) -> None:
    """Refuse a second framing field; join the lists that we read ourselves, in `fields`."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in _SINGLE:
            raise Refusal(400, f"more than one {name.decode('ascii')} header")
        seen.add(name)
    for name in (b"connection", b"upgrade", b"expect"):
        if name in fields:
            fields[name] = b", ".join([value for key, value in headers if key == name])


def read_framing(request: RequestHead, fields: dict[bytes, bytes]) -> None:
    """Content-Length or Transfer-Encoding, without doubt which (RFC 9112 §6.1-6.3)."""
    for name in _DISGUISED:
        if name in fields:
            raise Refusal(400, f"{name.decode('ascii')} is not a header this server passes on")
    length = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise Refusal(400, "Content-Length together with Transfer-Encoding")
        if request.http_version == "1.0":
            raise Refusal(400, "Transfer-Encoding in HTTP/1.0")
        _check_coding(coding.lower())
        request.length = -1
    elif length is not None:
        plain = plain_length(length)
        if plain is None:
            raise Refusal(400, "malformed Content-Length")
        request.length = int(plain)
        if plain != length:
            request.headers = [
                (field[0], plain) if field[0] == b"content-length" else field
                for field in request.headers
            ]


def _check_coding(coding: bytes) -> None:
    if coding == b"chunked":
        return
    codings = [part.strip(b" \t") for part in coding.split(b",")]
    if codings[-1] != b"chunked" or codings.count(b"chunked") != 1 or b"" in codings:
        raise Refusal(400, "Transfer-Encoding must end in one chunked")
    raise Refusal(501, "only the transfer coding chunked is understood")


def _read_connection(request: RequestHead, fields: dict[bytes, bytes]) -> None:
    """Persistence (RFC 9112 §9.3), Upgrade (RFC 9110 §7.8), Expect."""
    connection = fields.get(b"connection")
    http11 = request.http_version == "1.1"
    if connection is not None and not (connection == b"keep-alive" and http11):
        options = {option.strip(b" \t") for option in connection.lower().split(b",")}
        if b"close" in options:
            request.keep_alive = False
        elif b"keep-alive" in options:
            request.keep_alive = True
        if b"upgrade" in options and http11:
            request.upgrade = fields.get(b"upgrade", b"").lower()
            if request.upgrade == b"websocket" and (request.method != b"GET" or request.length):
                raise Refusal(400, "a WebSocket begins with a GET that has no body")
    expectation = fields.get(b"expect")
    if expectation is not None and http11:
        read_expectation(request, expectation)


def read_expectation(request: RequestHead, expectation: bytes) -> None:
    """`Expect` (RFC 9110 §10.1.1). Raises Refusal 417."""
    if expectation.lower() != b"100-continue":
        raise Refusal(417, "the only expectation met here is 100-continue")
    request.expects_continue = request.length != 0
