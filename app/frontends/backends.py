"""The rows of a frontend's list: what a backend's URL may be. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from sys import intern
from urllib.parse import SplitResult, urlsplit

from ..errors import HipacheError
from ..masking import masked_url

WEB_PORTS = {"http": 80, "https": 443, "h2c": 80}
"""Ports of URLs that name none."""
SOCKETS = frozenset({"unix", "h2c+unix"})
"""Schemes of URLs that name the path of a socket."""
ALPN = "h2"
"""Scheme of an `https` backend that is offered HTTP/2 in the TLS handshake, and chooses: an option
makes it so, no URL says it."""
HTTP2 = frozenset({"h2c", "h2c+unix", ALPN})
"""Schemes of backends that may speak HTTP/2; but for the last one by prior knowledge and without
TLS (RFC 9113 §3.3)."""
TLS = frozenset({"https", ALPN})
URL_SCHEMES = {"h2c": "http", ALPN: "https"}
"""What a request's URL says instead of these (RFC 9110 §4.2)."""

MAX_BACKENDS = 2048
"""Of one list. Each edit is parsed and planned as a whole, in some ten milliseconds for so many:
meanwhile everybody else's requests wait."""

EDGES = " \t\n\v\f\r\xa0\ufeff"
"""White space around a row, which node's URL parser took away, and so do we: people write
`echo URL | redis-cli -x rpush`."""

_ORDINARY = re.compile(
    r"(https?|h2c)://([a-z0-9._-]*[g-wyz_-][a-z0-9._-]*"
    r"|(?:[1-9][0-9]?|1[0-9]{2}|2[01][0-9])(?:\.[0-9]{1,3}){3})(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?(/[!-~]*)?"
)
"""Nothing but a path can be odd about these, which nearly all rows are."""
_BY_TLS = " (with TLS it is https, and the option http2 on)"
_MEANT = {
    "grpc": " (did you mean h2c?)", "http2": " (did you mean h2c?)",
    "grpcs": _BY_TLS, "h2": _BY_TLS,
}  # fmt: skip
"""What other programs call backends of HTTP/2."""
_NO_SLASHES = re.compile(
    r"(?:https?|h2c)(?::?/(?!/)|//|:(?!/)(?![0-9]*(?:[/?#]|\Z)))"  # http:80 is a host's port
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidBackendURL(HipacheError):
    """A list element that is not the URL of a backend; the text says why."""


_PART = r"(?:0x[0-9a-f]{1,8}|[0-9]{1,11})"
_SHORT = re.compile(rf"{_PART}(?:\.{_PART}){{1,3}}")


@dataclass(frozen=True, slots=True)
class Backend:
    """One URL of a frontend's list."""

    url: str
    """Exactly as it stands in the list: its identity in marks and publications."""
    index: int
    """Position among the backends, from 0: Hipache's backend id."""
    scheme: str
    """`http`, `https`, `h2c` (HTTP/2 without TLS, by prior knowledge), `unix` or `h2c+unix`; ALPN
    for one of `https` whose frontend says `http2 on`."""
    host: str
    """Name or address without brackets; for `unix` and `h2c+unix` the path of the socket."""
    port: int
    """0 for a socket."""
    origin: tuple[str, str, int] = field(init=False, repr=False, compare=False)
    """What a connection may be shared by: equal origins share a pool. No property, for each request
    asks for it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", (self.scheme, self.host, self.port))


def offering_http2(backend: Backend, *, on: bool) -> Backend:
    """The same backend, offered HTTP/2 or not if it has TLS.

    >>> offering_http2(parse_backend("https://10.0.0.1", 0), on=True).origin
    ('h2', '10.0.0.1', 443)
    """
    scheme = ALPN if on else "https"
    if backend.scheme not in TLS or backend.scheme == scheme:
        return backend
    return replace(backend, scheme=scheme)


@dataclass(frozen=True, slots=True)
class BadEntry:
    """A list element that cannot be used, kept for the log and for `doctor`."""

    text: str
    index: int
    reason: str


TOO_MANY = BadEntry(
    "", MAX_BACKENDS, f"a list has {MAX_BACKENDS} backends at most, the rest is unused"
)
"""Stands for all rows of a list behind the last one that is used."""


def trimmed(text: str) -> str:
    """A row without white space around it."""
    return text.strip(EDGES)


def parse_backend(text: str, index: int) -> Backend:
    """One list element as a Backend.

    `host:port` without a scheme means http, as planb reads it; Hipache took the
    host for the scheme (hipache.md 1.10, point 16). A path or query in the URL
    is ignored, as in Hipache; so is white space around it. `unix:/path/to/socket` and
    `h2c+unix:/path/to/socket` name a socket.

    Raises InvalidBackendURL, whose text says what is wrong.
    """
    if ordinary := _ORDINARY.fullmatch(text):
        scheme, host, digits, _ = ordinary.groups()
        scheme, host = intern(scheme), intern(host)  # lists name the same machines
        return Backend(text, index, scheme, host, int(digits or WEB_PORTS[scheme]))
    url, shown = trimmed(text), masked_url(text)  # a password may be in it
    kind, _, path = url.partition(":")
    if kind in SOCKETS:
        path = path.removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise InvalidBackendURL(f"{text!r}: a unix socket needs an absolute path")
        return Backend(text, index, intern(kind), path, 0)
    if any(c <= " " or c == "\x7f" for c in url):
        raise InvalidBackendURL(f"{shown!r}: spaces or control characters")
    if _NO_SLASHES.match(url):
        raise InvalidBackendURL(f"{shown!r}: a scheme ends with '://'")
    try:
        parts = _split(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidBackendURL(f"{shown!r}: {exc if shown == text else 'no URL'}") from None
    if parts.scheme not in WEB_PORTS:
        meant = _MEANT.get(parts.scheme, "")
        raise InvalidBackendURL(f"{shown!r}: scheme is not http, https, h2c or unix{meant}")
    if not parts.hostname:
        raise InvalidBackendURL(f"{shown!r}: no host")
    if parts.username is not None:
        raise InvalidBackendURL(f"{shown!r}: user and password are not supported")
    if port == 0:
        raise InvalidBackendURL(f"{shown!r}: port 0")
    if _NUMBER.fullmatch(parts.hostname):
        raise InvalidBackendURL(f"{shown!r}: a number is no host{_port_meant(parts)}")
    scheme, host = intern(parts.scheme), intern(parts.hostname)
    return Backend(text, index, scheme, host, port or WEB_PORTS[scheme])


def _split(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"http://{url}")


def _port_meant(parts: SplitResult) -> str:
    """A C library reads 9101 as the address 0.0.35.141, which nobody means."""
    number = parts.hostname or ""
    if parts.port is None and number.isdecimal() and 0 < int(number[:6]) <= 65535:
        return f" (did you mean {parts.scheme}://127.0.0.1:{int(number)}?)"
    return ""


def oddity(backend: Backend) -> str:
    """What in a backend's URL cannot be meant as it stands, though it is served; "" if nothing."""
    if ordinary := _ORDINARY.fullmatch(backend.url):
        return "" if ordinary[4] in {None, "/"} else _ignored(_split(backend.url), backend)
    url = trimmed(backend.url)
    if url != backend.url:
        return "white space around it is ignored"
    if backend.scheme in SOCKETS:
        return ""
    parts = _split(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return _ignored(parts, backend)
    try:
        address = ip_address(backend.host.partition("%")[0])
    except ValueError:
        full = in_full(backend.host)
        return f"an address has four numbers (did you mean {full}?)" if full else ""
    if address.is_multicast or (
        isinstance(address, IPv4Address)
        and (address == IPv4Address("255.255.255.255") or 0 < int(address) < 1 << 24)
    ):
        return "no machine has this address"
    return ""


def _ignored(parts: SplitResult, backend: Backend) -> str:
    """Names what stands behind the port, but a query may hold a token."""
    behind = f"path {parts.path}" if parts.path not in ("", "/") else "query"
    return (
        f"its {behind} is ignored: the backend is asked for the request's own; "
        f"write {plain_url(backend)}"
    )


def plain_url(backend: Backend) -> str:
    """Its URL with nothing in it that is ignored."""
    if backend.scheme in SOCKETS:
        return trimmed(backend.url)
    host = f"[{backend.host}]" if ":" in backend.host else in_full(backend.host) or backend.host
    scheme = "https" if backend.scheme == ALPN else backend.scheme
    port = "" if backend.port == WEB_PORTS[scheme] else f":{backend.port}"
    return f"{scheme}://{host}{port}"


def in_full(host: str) -> str:
    """The IPv4 address that a C library reads in a short form; "" where it reads none.

    >>> in_full("127.1"), in_full("0x7f.0.0.010"), in_full("example.1")
    ('127.0.0.1', '127.0.0.8', '')
    """
    if not _SHORT.fullmatch(host):
        return ""
    try:
        *first, last = (int(re.sub(r"^0(?=[0-9])", "0o", part), 0) for part in host.split("."))
    except ValueError:  # 09 is no octal number
        return ""
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return ""
    return str(IPv4Address(sum(n << 8 * (3 - i) for i, n in enumerate(first)) + last))
