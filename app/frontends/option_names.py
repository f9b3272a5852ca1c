"""The names of a frontend's options, and which of them a misspelt name means. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from functools import lru_cache
from unicodedata import normalize

ACCESS = ("allow", "deny", "basicAuth", "forwardAuth", "forwardAuthTimeout", "forwardAuthCopy")
"""A mistake in one of these closes the frontend."""
LIMITS = ("rateLimit", "maxInFlight")
MAINTENANCE = ("maintenance", "maintenanceRetry", "maintenanceAllow", "pause")
UNREADABLE = "unreadable"
"""The name of a field that stores put into options which they could not read."""
OF_ALL = (
    "policy", "hash", "sticky", "slowStart", "panic", "redirect", "hsts", "acme", "strip", "http2",
    "wake", "wakeTimeout",
)  # fmt: skip
OF_ONE = ("weight", "drain", "backup")
"""These have a backend's URL behind a colon."""

MAX_COMPARED_NAME = 64
"""Characters of a name that are compared: the time for it grows with their square."""

MAX_OPTIONS = 8192
MAX_UNKNOWN = 64
"""Names that are no option: what each of them means is looked for, for a tenth of a millisecond."""

_NOT_COUNTED = re.compile(r"[\W_]+")
_WORDS = ("allow", "deny", "auth")
"""A name with one of these in it means access, however little the rest resembles an option."""


def _compact(name: str) -> str:
    """What is left of a name without case, punctuation and the width of its letters."""
    return _NOT_COUNTED.sub("", normalize("NFKC", name)).casefold()


_EXACT = {UNREADABLE, *ACCESS, *LIMITS, *MAINTENANCE, *OF_ALL, *OF_ONE}
_NAMES = {_compact(name): name for name in (*ACCESS, *LIMITS, *MAINTENANCE, *OF_ALL, *OF_ONE)}


@lru_cache(maxsize=1024)
def meant_by(name: str) -> str | None:
    """The option that `name` is, or is nearest to, as for the keys of the configuration.

    >>> meant_by("allow"), meant_by("Basic-Auth"), meant_by("alows"), meant_by("owner")
    ('allow', 'basicAuth', 'allow', None)
    """
    compact = _compact(name[:MAX_COMPARED_NAME])
    if compact in _NAMES:
        return _NAMES[compact]
    for word in _WORDS:
        if word in compact:
            of_that_kind = [known for known in _NAMES if word in known]
            return _NAMES[get_close_matches(compact, of_that_kind, n=1, cutoff=0.0)[0]]
    near = get_close_matches(compact, _NAMES, n=1)
    return _NAMES[near[0]] if near else None


def beyond_bounds(names: Collection[str]) -> str:
    """Why a hash with these fields is not read: it would take too long. "" if it is.

    >>> beyond_bounds(["policy", "weight:http://10.0.0.1", "wieght:http://10.0.0.1"])
    ''
    """
    if len(names) > MAX_OPTIONS:
        return f"there are {len(names)} options, of which {MAX_OPTIONS} are read at most"
    unknown = sum(name.partition(":")[0] not in _EXACT for name in names)
    if unknown > MAX_UNKNOWN:
        return f"{unknown} names are no options, of which {MAX_UNKNOWN} are tolerated"
    return ""


def no_option(name: str, meant: str | None) -> str:
    """What to say of a field of that name.

    >>> no_option("weight", "weight"), no_option("owner", None)
    ("'weight' is no option (did you mean weight:URL?)", "'owner' is no option")
    """
    if meant is None:
        return f"{name!r} is no option"
    return f"{name!r} is no option (did you mean {meant}{':URL' * (meant in OF_ONE)}?)"


def is_guards(name: str) -> bool:
    """Whether `parse_protection` reads this field of the hash."""
    return name in LIMITS or name in MAINTENANCE or decides_access(name)


def decides_access(name: str) -> bool:
    """Whether a mistake in this field of the hash closes the frontend."""
    return name == UNREADABLE or meant_by(name.partition(":")[0]) in ACCESS
