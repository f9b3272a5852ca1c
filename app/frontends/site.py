"""A host's paths that have lists of their own, and which of them takes a request. Pure.

`frontend:<host>/api` is the list of the prefix `/api` of `<host>`: its key is the host's key and
the prefix. A host without prefixes has no Site.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from .backends import trimmed
from .option_names import OF_ONE

_PREFIX = re.compile(r"/[!\"$->@-~]*")
"""Octets of a path that can be asked for: visible ASCII without `#` and `?`."""


def host_of(key: str) -> str:
    """The host's part of a frontend's key.

    >>> host_of("www.example.com/api"), host_of("*.example.com")
    ('www.example.com', '*.example.com')
    """
    return key.partition("/")[0]


def prefix_of(key: str) -> str:
    """The prefix in a frontend's key, "" where it is a host's own.

    >>> prefix_of("www.example.com/api/v2"), prefix_of("www.example.com")
    ('/api/v2', '')
    """
    return key[len(host_of(key)) :]


def can_match(prefix: str) -> bool:
    """Whether any path of a request can lie below `prefix`, and only as it is meant.

    >>> can_match("/api"), can_match("api"), can_match("/api/"), can_match("/a?b")
    (True, False, False, False)
    """
    return _PREFIX.fullmatch(prefix) is not None and not prefix.endswith("/")


@dataclass(frozen=True, slots=True)
class Site:
    """The prefixes of one host's key."""

    keys: Mapping[bytes, str]
    """The key of each prefix's frontend, by the prefix."""
    listed: bool
    """Whether the host has a list of its own for all other paths."""
    depth: int
    """Slashes in the prefix that has the most."""
    longest: int
    """Bytes of the longest prefix."""

    def keys_for(self, target: bytes) -> list[str]:
        """The keys of the prefixes that take a request's target, longest first.

        `/api` takes `/api`, `/api/x` and `/api?x`, never `/apix`. Paths are compared byte for
        byte, as they came: nothing is decoded or tidied. The time is bounded by the prefixes, not
        by the target.

        >>> site_of("a.org", ["/api", "/api/v2"], listed=True).keys_for(b"/api/v2/x?y")
        ['a.org/api/v2', 'a.org/api']
        """
        query = target.find(b"?")
        size = len(target) if query < 0 else query
        found: list[str] = []
        end = 0
        for _ in range(self.depth):
            end = target.find(b"/", end + 1, size)
            if end < 0:
                end = size
            if end > self.longest:
                break
            key = self.keys.get(target[:end])
            if key is not None:
                found.insert(0, key)
            if end >= size:
                break
        return found


def site_of(key: str, prefixes: Iterable[str], *, listed: bool) -> Site | None:
    """The Site of a host's key; None without prefixes. What begins with no slash is none."""
    keys = {prefix.encode(): key + prefix for prefix in prefixes if prefix.startswith("/")}
    if not keys:
        return None
    depth = max(prefix.count(b"/") for prefix in keys)
    return Site(keys, listed, depth, max(map(len, keys)))


def inherited(
    own: Mapping[str, str], of_host: Mapping[str, str], urls: Collection[str]
) -> Mapping[str, str]:
    """The options of a prefix: its own fields, and its host's where it does not set them.

    The host's fields for one backend count where the prefix's list, `urls`, has that backend.

    >>> inherited({"policy": "hash"}, {"policy": "random", "sticky": "on"}, [])
    {'policy': 'hash', 'sticky': 'on'}
    """
    if not of_host:
        return own
    listed = set(map(trimmed, urls))
    options = dict(of_host)
    for name in of_host:
        kind, _, url = name.partition(":")
        if url and kind in OF_ONE and trimmed(url) not in listed:
            del options[name]
    options.update(own)
    return options
