"""What a frontend may say about its balancing: the `options:<host>` hash, parsed. Pure.

Every field of the hash is a string. Fields for all backends:

    policy       random | round_robin | least_conn | least_time | hash
    hash         client | header:NAME | cookie:NAME
    sticky       on | off | NAME of the cookie
    slowStart    seconds
    panic        on | off
    redirect     on | off, from http to https
    hsts         seconds

those of app.frontends.protection, and fields for one backend, named by its URL
exactly as it stands in the list, so that they survive an edit of the list:

    weight:URL   a number from 0 to 1000000; 0 is drained
    drain:URL    on | off
    backup:URL   on | off

Old tools never read this hash; what is wrong in it costs a log line, never
the traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .protection import Protection, field_of, parse_protection

if TYPE_CHECKING:
    from ..config.structs import Balance  # which asks this module what a value may be

DEFAULT_COOKIE = "hipache"
MAX_WEIGHT = 1_000_000.0
MAX_SLOW_START = 86_400.0
MAX_HSTS = 10 * 365 * 86_400.0

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
    """What policy `hash` looks at. A request without it is placed by client address."""

    source: Literal["client", "header", "cookie"] = "client"
    name: bytes = b""
    """Of the header (lower-case) or of the cookie."""

    def __str__(self) -> str:
        return f"{self.source}:{self.name.decode()}" if self.name else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one frontend wants. Backends are named by their URL in the list."""

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
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """1 for those that are not in it."""
    drained: frozenset[str] = frozenset()
    """Get no new clients; sticky ones stay."""
    backups: frozenset[str] = frozenset()
    """Serve only when nobody else is left."""
    protection: Protection | None = None
    """What a request has to pass before a backend sees it; None where nothing stands there."""


def default_options(balance: Balance) -> Options:
    """What the configuration says for every frontend."""
    return Options(
        policy=Policy(balance.policy),
        hash_key=parse_hash_key(balance.hash),
        sticky=parse_sticky(balance.sticky or "off"),
        slow_start=balance.slow_start,
        panic=balance.panic,
    )


class _Wrong(ValueError):
    """A value that can not be used; the text says what would be right."""


def parse_options(
    raw: Mapping[str, str], defaults: Options = Options()
) -> tuple[Options, tuple[str, ...]]:
    """The hash over the defaults, and one sentence for every field that was passed over.

    >>> parse_options({"policy": "least_conn"})[0].policy.value
    'least_conn'
    >>> parse_options({"policy": "fastest"})[1]
    ("policy 'fastest' is none of random, round_robin, least_conn, least_time, hash",)
    """
    options = defaults
    protection, told = parse_protection(raw)
    problems = list(told)
    weights = dict(defaults.weights)
    sets = {"drain": set(defaults.drained), "backup": set(defaults.backups)}
    for name, value in sorted(raw.items()):
        kind, _, url = name.partition(":")
        if field_of(kind) is not None:
            continue
        try:
            if not url:
                options = _with_field(options, name, value)
            elif kind == "weight":
                weights[url] = _number(name, value, MAX_WEIGHT)
            elif kind in sets:
                (sets[kind].add if _switch(name, value) else sets[kind].discard)(url)
            else:
                raise _Wrong(f"{name!r} is no option")
        except _Wrong as exc:
            problems.append(str(exc))
    options = replace(
        options,
        weights=MappingProxyType(weights),
        drained=frozenset(sets["drain"]),
        backups=frozenset(sets["backup"]),
        protection=protection,
    )
    return options, tuple(problems)


def _with_field(options: Options, name: str, value: str) -> Options:
    match name:
        case "policy":
            return replace(options, policy=_policy(value))
        case "hash":
            return replace(options, hash_key=parse_hash_key(value))
        case "sticky":
            return replace(options, sticky=parse_sticky(value))
        case "slowStart":
            return replace(options, slow_start=_number(name, value, MAX_SLOW_START))
        case "redirect":
            return replace(options, redirect=_switch(name, value))
        case "hsts":
            return replace(options, hsts=_number(name, value, MAX_HSTS))
        case "panic":
            return replace(options, panic=_switch(name, value))
        case _:
            raise _Wrong(f"{name!r} is no option")


def _policy(value: str) -> Policy:
    try:
        return Policy(value)
    except ValueError:
        raise _Wrong(f"policy {value!r} is none of {', '.join(Policy)}") from None


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
    raise _Wrong(f"hash {value!r} is none of client, header:NAME, cookie:NAME")


def parse_sticky(value: str) -> str | None:
    """The cookie's name, None for off. Raises ValueError for what can not be a name."""
    if value.lower() in _NO:
        return None
    if value.lower() in _YES:
        return DEFAULT_COOKIE
    if not _TOKEN.match(value):
        raise _Wrong(f"sticky {value!r} is none of on, off, the NAME of a cookie")
    return value


def _switch(name: str, value: str) -> bool:
    if value.lower() in _YES:
        return True
    if value.lower() in _NO:
        return False
    raise _Wrong(f"{name} {value!r} is none of on, off")


def _number(name: str, value: str, maximum: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= maximum:  # false for nan, too
        raise _Wrong(f"{name} {value!r} is no number from 0 to {maximum:.0f}")
    return number
