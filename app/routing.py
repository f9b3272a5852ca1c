"""From a `Host` field to the backends that may serve it. Pure: no I/O, no clock.

The keys, their order and the list format are Hipache's (lib/cache.js and
lib/drivers/redis.js, 0.3.1; tests/test_routing.py holds its own cases).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from sys import intern
from types import MappingProxyType
from urllib.parse import urlsplit

from .errors import BadHost, HipacheError
from .masking import masked_url

MAX_WILDCARD_LABELS = 5
"""`*.` and five labels is the longest wildcard that is ever looked up."""

DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986 §3.2.2 reg-name without percent-encoding; "_" occurs in practice.
_REG_NAME = re.compile(r"[a-z0-9_~!$&'()+,;=-]+(\.[a-z0-9_~!$&'()+,;=-]+)*\Z")
_PORT = re.compile(r"[0-9]{0,5}\Z")


class InvalidBackendURL(HipacheError):
    """A list element that is not the URL of a backend; the text says why."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One URL of a frontend's list."""

    url: str
    """Exactly as it stands in the list: its identity in marks and publications."""
    index: int
    """Position among the backends, from 0: Hipache's backend id."""
    scheme: str
    """`http`, `https` or `unix`."""
    host: str
    """Name or address without brackets; for `unix` the path of the socket."""
    port: int
    """0 for `unix`."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection may be shared by: equal origins share a pool."""
        return (self.scheme, self.host, self.port)


@dataclass(frozen=True, slots=True)
class BadEntry:
    """A list element that can not be used, kept for the log and for `doctor`."""

    text: str
    index: int
    reason: str


# One for all: fewer objects to keep, and fewer that a request has to bring into the processor.
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Frontend:
    """One list of the store: what `key` is served by."""

    key: str
    """The key that matched, without prefix: `a.example.com`, `*.example.com` or `*`."""
    identifier: str
    """The first row: only a name for the log and the debug fields."""
    backends: tuple[Backend, ...]
    bad_entries: tuple[BadEntry, ...] = ()
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    """The raw `options:<key>` hash (or the file store's `options`)."""

    @property
    def size(self) -> int:
        """Backends in the list, usable or not: the `len` that is published on `dead`."""
        return len(self.backends) + len(self.bad_entries)


@dataclass(frozen=True, slots=True)
class Mark:
    """Why and until when a backend is dead. Times are Unix seconds."""

    until: float
    since: float
    reason: str
    by: str
    """Who marked it: a proxy's name, or `foreign` for a bare index in `dead:<host>`."""
    failures: int = 1
    """Marks in a row without a success between them."""


Marks = Mapping[str, Mark]
"""Marks of one frontend by the backend's URL."""

NO_MARKS: Marks = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Route:
    """The store's answer for one host: a frontend and the marks on its backends.

    A route is a snapshot: a change in the store makes a new one. `marks` is
    keyed by the backend's URL and may hold marks that have lapsed; whoever
    reads them compares `until` with the clock.
    """

    frontend: Frontend
    marks: Marks = field(default_factory=lambda: NO_MARKS)


def normalise_host(value: bytes) -> str:
    """The host of a `Host` field: lower-case, without port and one trailing dot.

    IPv6 literals keep their brackets, in compressed form. An internationalised
    name is looked up as it is sent, that is in its ASCII form (RFC 5890 §2.3.2.1).
    Hipache lower-cased only when there was a port and cut `[::1]` at its first
    colon (hipache.md 1.3, 1.10); we never do.

    >>> normalise_host(b"WWW.Example.com.:8080")
    'www.example.com'
    >>> normalise_host(b"[2001:DB8::0:1]:80")
    '[2001:db8::1]'

    Raises BadHost where the field names no host: empty, a wildcard, spaces,
    control bytes, a port that is none.
    """
    text = value.decode("latin-1").strip(" \t").lower()
    if not text:
        raise BadHost
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        if not bracket or not (rest == "" or rest.startswith(":")) or not _is_port(rest[1:]):
            raise BadHost(_malformed(value))
        try:
            return f"[{IPv6Address(literal).compressed}]"
        except ValueError:
            raise BadHost(_malformed(value)) from None
    host, _, port = text.partition(":")
    host = host.removesuffix(".")
    if not _is_port(port) or not _REG_NAME.match(host):
        raise BadHost(_malformed(value))
    return host


def _is_port(text: str) -> bool:
    return bool(_PORT.match(text)) and (not text or int(text) <= 65535)


def _malformed(value: bytes) -> str:
    return f"malformed host header {value[:100]!r}"


def lookup_keys(host: str) -> list[str]:
    """Frontend keys to try for `host`, most specific first.

    At most seven, however many labels a client sends: that bounds the reads
    that one request costs.

    >>> lookup_keys("a.example.com")
    ['a.example.com', '*.example.com', '*.com', '*']
    """
    if host.startswith("["):
        return [host, "*"]
    labels = host.split(".")[-(MAX_WILDCARD_LABELS + 1) :]
    return [host, *("*." + ".".join(labels[i:]) for i in range(1, len(labels))), "*"]


def parse_backend(text: str, index: int) -> Backend:
    """One list element as a Backend.

    `host:port` without a scheme means http, as planb reads it; Hipache took the
    host for the scheme (hipache.md 1.10, point 16). A path or query in the URL
    is ignored, as in Hipache. `unix:/path/to/socket` names a socket.

    Raises InvalidBackendURL, whose text says what is wrong.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise InvalidBackendURL(f"{text!r}: a unix socket needs an absolute path")
        return Backend(text, index, "unix", path, 0)
    shown = masked_url(text)  # somebody may have written a password into it
    if any(c <= " " or c == "\x7f" for c in text):
        raise InvalidBackendURL(f"{shown!r}: spaces or control characters")
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port
    except ValueError as exc:
        raise InvalidBackendURL(f"{shown!r}: {exc if shown == text else 'no URL'}") from None
    if url.scheme not in DEFAULT_PORTS:
        raise InvalidBackendURL(f"{shown!r}: scheme is not http, https or unix")
    if not url.hostname:
        raise InvalidBackendURL(f"{shown!r}: no host")
    if url.username is not None:
        raise InvalidBackendURL(f"{shown!r}: user and password are not supported")
    if port == 0:
        raise InvalidBackendURL(f"{shown!r}: port 0")
    scheme, host = intern(url.scheme), intern(url.hostname)  # lists name the same machines
    return Backend(text, index, scheme, host, port or DEFAULT_PORTS[scheme])


def parse_frontend(
    key: str, rows: Sequence[str], options: Mapping[str, str] | None = None
) -> Frontend:
    """A store's list as a Frontend. What can not be used is kept as a BadEntry.

    >>> parse_frontend("x.org", ["mysite", "http://10.0.0.1:80"]).backends[0].host
    '10.0.0.1'
    """
    backends: list[Backend] = []
    bad: list[BadEntry] = []
    for index, text in enumerate(rows[1:]):
        try:
            backends.append(parse_backend(text, index))
        except InvalidBackendURL as exc:
            bad.append(BadEntry(text, index, str(exc)))
    return Frontend(
        key, rows[0] if rows else "", tuple(backends), tuple(bad),
        MappingProxyType(options) if options else NO_OPTIONS,
    )  # fmt: skip
