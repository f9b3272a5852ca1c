"""From a `Host` field to the backends that may serve it. Pure: no I/O, no clock.

The keys, their order and the list format are Hipache's (lib/cache.js and
lib/drivers/redis.js, 0.3.1; tests/test_routing.py holds its own cases).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from types import MappingProxyType

from .errors import BadHost
from .frontends.backends import (
    MAX_BACKENDS,
    TOO_MANY,
    Backend,
    BadEntry,
    InvalidBackendURL,
    offering_http2,
    parse_backend,
)
from .frontends.options import NO_OPTIONS
from .frontends.settings import NO_SETTINGS, Settings, settings_of
from .frontends.site import Site, prefix_of, site_of

__all__ = [
    "NO_MARKS",
    "NO_OPTIONS",
    "Backend",
    "BadEntry",
    "Frontend",
    "InvalidBackendURL",
    "Mark",
    "Marks",
    "Route",
    "lookup_keys",
    "normalise_host",
    "parse_backend",
    "parse_frontend",
    "with_options",
]

MAX_WILDCARD_LABELS = 5
"""`*.` and five labels is the longest wildcard that is ever looked up."""

# RFC 3986 §3.2.2 reg-name without percent-encoding; "_" occurs in practice.
_REG_NAME = re.compile(r"[a-z0-9_~!$&'()+,;=-]+(\.[a-z0-9_~!$&'()+,;=-]+)*\Z")
_PORT = re.compile(r"[0-9]{0,5}\Z")


@dataclass(frozen=True, slots=True, eq=False)
class Frontend:
    """One list of the store: the backends for the hosts that `key` matches."""

    key: str
    """The key that matched: `a.example.com`, `*.example.com`, `*`, or one with a prefix behind it
    as in `a.example.com/api`."""
    identifier: str
    """The first row: only a name for the log and the debug fields."""
    backends: tuple[Backend, ...]
    bad_entries: tuple[BadEntry, ...] = ()
    settings: Settings = NO_SETTINGS
    """What the `options:<key>` hash (or the file store's `options`) says, parsed; for a prefix
    with what it inherits from its host."""
    site: Site | None = None
    """The prefixes of this host; None for most, and for a prefix."""

    @property
    def options(self) -> Mapping[str, str]:
        """The hash as the store has it."""
        return self.settings.raw

    @property
    def prefix(self) -> str:
        """Where the paths begin that it serves, "" for a host's own list."""
        return prefix_of(self.key)

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
    """The name of the proxy that marked it, or `foreign` for a bare index in `dead:<host>`."""
    failures: int = 1
    """Marks in a row without a success between them."""
    evidence: bool = False
    """Set for what requests brought about, not for a backend that takes no connection."""


Marks = Mapping[str, Mark]
"""Marks of one frontend by the backend's URL."""

NO_MARKS: Marks = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Route:
    """The store's answer for one host: a frontend and the marks on its backends.

    A route is a snapshot: a change in the store makes a new one. `marks` may
    hold marks that have lapsed: compare `until` with the clock.
    """

    frontend: Frontend
    marks: Marks = field(default_factory=lambda: NO_MARKS)


def normalise_host(value: bytes) -> str:
    """The host of a `Host` field: lower-case, without port and one trailing dot.

    IPv6 literals keep their brackets, in compressed form. An internationalised
    name is looked up as it is sent, that is in its ASCII form (RFC 5890 §2.3.2.1).
    Hipache lower-cased only when there was a port and cut `[::1]` at its first
    colon (hipache.md 1.3, 1.10 point 12); we never do.

    >>> normalise_host(b"WWW.Example.com.:8080")
    'www.example.com'
    >>> normalise_host(b"[2001:DB8::0:1]:80")
    '[2001:db8::1]'

    Raises BadHost if the field names no host: it is empty or a wildcard, has
    spaces or control bytes, or its port is none.
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

    There are at most seven, however many labels a client sends: that bounds the
    reads that one request costs.

    A name with a prefix is a frontend's key by itself.

    >>> lookup_keys("a.example.com")
    ['a.example.com', '*.example.com', '*.com', '*']
    >>> lookup_keys("a.example.com/api")
    ['a.example.com/api']
    """
    if "/" in host:
        return [host]
    if host.startswith("["):
        return [host, "*"]
    labels = host.split(".")[-(MAX_WILDCARD_LABELS + 1) :]
    return [host, *("*." + ".".join(labels[i:]) for i in range(1, len(labels))), "*"]


def parse_frontend(
    key: str,
    rows: Sequence[str],
    options: Mapping[str, str] | None = None,
    prefixes: Collection[str] = (),
) -> Frontend:
    """A store's list as a Frontend. A row that cannot be used is kept as a BadEntry.

    Rows behind the first MAX_BACKENDS are not used; one BadEntry stands for them all. With
    `prefixes` there may be no rows at all: then the host has no list of its own.

    >>> parse_frontend("x.org", ["mysite", "http://10.0.0.1:80"]).backends[0].host
    '10.0.0.1'
    """
    backends: list[Backend] = []
    bad: list[BadEntry] = []
    for index, text in enumerate(rows[1 : MAX_BACKENDS + 1]):
        try:
            backends.append(parse_backend(text, index))
        except InvalidBackendURL as exc:
            bad.append(BadEntry(text, index, str(exc)))
    if len(rows) > MAX_BACKENDS + 1:
        bad.append(TOO_MANY)
    identifier = rows[0] if rows else ""
    site = site_of(key, prefixes, listed=bool(rows)) if prefixes else None
    frontend = Frontend(key, identifier, tuple(backends), tuple(bad), site=site)
    return with_options(frontend, options) if options else frontend


def with_options(frontend: Frontend, options: Mapping[str, str]) -> Frontend:
    """The same list with other options."""
    urls = [backend.url for backend in frontend.backends]
    urls += [bad.text for bad in frontend.bad_entries]
    settings = settings_of(options).for_list(urls)
    http2 = settings.values.get("http2", False)
    backends = tuple(offering_http2(backend, on=http2) for backend in frontend.backends)
    return replace(frontend, backends=backends, settings=settings)
