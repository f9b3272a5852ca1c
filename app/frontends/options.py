"""What a frontend may say about its balancing: the `options:<host>` hash, parsed. Pure.

Every field of the hash is a string. Fields for all backends:

    policy       random | round_robin | least_conn | least_time | hash
    hash         client | header:NAME | cookie:NAME
    sticky       on | off | NAME of the cookie
    slowStart    seconds
    panic        on | off
    redirect     on | off, from http to https
    hsts         seconds
    acme         on | off, whether certificates are ordered for its names
    strip        on | off, for a prefix: take it off towards the backend
    http2        on | off, whether backends with TLS are offered HTTP/2
    wake         URL that is called when no backend lives; off
    wakeTimeout  seconds that requests wait then

those of frontends/protection.py, and fields for one backend, named by its URL
as it stands in the list, so that they survive an edit of the list:

    weight:URL   a number from 0 to 1000000; 0 is drained
    drain:URL    on | off
    backup:URL   on | off

Old tools never read this hash. A mistake in it costs a log line, never the
traffic. To add a field, add an attribute to Options, and its name and a line to the table in
frontends/settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from .protection import Protection
from .services import Service, parse_service

DEFAULT_COOKIE = "hipache"
MAX_WEIGHT = 1_000_000.0
MAX_SLOW_START = 86_400.0
MAX_HSTS = 10 * 365 * 86_400.0
MAX_WAKE = 600.0

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_EQUAL_WEIGHTS: Mapping[str, float] = MappingProxyType({})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 §5.6.2
_YES = frozenset({"on", "yes", "true", "1"})
_NO = frozenset({"off", "no", "false", "0", ""})


class Policy(StrEnum):
    """How one of several live backends is chosen."""

    RANDOM = "random"
    ROUND_ROBIN = "round_robin"
    LEAST_CONN = "least_conn"
    LEAST_TIME = "least_time"
    HASH = "hash"


@dataclass(frozen=True, slots=True)
class HashKey:
    """The part of a request that policy `hash` looks at.

    A request without it is placed by its client's address.
    """

    source: Literal["client", "header", "cookie"] = "client"
    name: bytes = b""
    """Of the header (lower-case) or of the cookie."""

    def __str__(self) -> str:
        return f"{self.source}:{self.name.decode()}" if self.name else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What holds for one frontend. Backends are named by their URL in the list."""

    policy: Policy = Policy.RANDOM
    hash_key: HashKey = HashKey()
    sticky: str | None = None
    """The name of the cookie; None places each request on its own."""
    slow_start: float = 0.0
    """Seconds until a backend that came back has its full share; 0 means at once."""
    panic: bool = True
    """When every backend is dead: try the one marked longest ago instead of a 502."""
    redirect: bool = False
    """Send clients that come without TLS to https."""
    hsts: float = 0.0
    """Seconds for which browsers shall insist on https; 0 says nothing."""
    acme: bool | None = None
    """Whether certificates are ordered: None for exact names, not for those of a wildcard."""
    strip: bool = False
    """Of a prefix: the backend is asked for the path behind it."""
    http2: bool = False
    """Backends with TLS are offered HTTP/2 (ALPN)."""
    wake: Service | None = None
    """Who is told that a request has come and no backend lives."""
    wake_timeout: float = 30.0
    """Seconds that a request waits then at most."""
    weights: Mapping[str, float] = field(default_factory=lambda: _EQUAL_WEIGHTS)
    """1 for those that are not in it."""
    drained: frozenset[str] = frozenset()
    """Get no new clients; sticky ones stay."""
    backups: frozenset[str] = frozenset()
    """Serve only while no other backend can."""
    protection: Protection | None = None
    """What a request has to pass before it reaches a backend; None if there is nothing."""


def parse_policy(value: str) -> Policy:
    """The policy of that name. Raises ValueError that names them all."""
    try:
        return Policy(value)
    except ValueError:
        raise ValueError(f"{value!r} is none of {', '.join(Policy)}") from None


def parse_hash_key(value: str) -> HashKey:
    """`client`, `header:NAME` or `cookie:NAME`. Raises ValueError that says so.

    >>> parse_hash_key("header:X-User")
    HashKey(source='header', name=b'x-user')
    """
    source, _, name = value.partition(":")
    if value == "client":
        return HashKey()
    if source == "header" and _TOKEN.match(name):
        return HashKey("header", name.lower().encode())
    if source == "cookie" and _TOKEN.match(name):
        return HashKey("cookie", name.encode())
    raise ValueError(f"{value!r} is none of client, header:NAME, cookie:NAME")


def parse_sticky(value: str) -> str | None:
    """The cookie's name, None for off. Raises ValueError for what cannot be a name."""
    if value.lower() in _NO:
        return None
    if value.lower() in _YES:
        return DEFAULT_COOKIE
    if not _TOKEN.match(value):
        raise ValueError(f"{value!r} is none of on, off, the NAME of a cookie")
    return value


def parse_switch(value: str) -> bool:
    """On or off. Raises ValueError that says so."""
    if value.lower() in _YES:
        return True
    if value.lower() in _NO:
        return False
    raise ValueError(f"{value!r} is none of on, off")


def parse_wake(value: str) -> Service | None:
    """Who wakes the backends, None for off. Raises ValueError, which quotes no URL."""
    return None if value.lower() in _NO else parse_service(value)


def number_up_to(maximum: float) -> Callable[[str], float]:
    """Parses numbers from 0 to `maximum`; what it returns raises ValueError."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= maximum:  # false for nan, too
            raise ValueError(f"{value!r} is no number from 0 to {maximum:.0f}")
        return number

    return parse
