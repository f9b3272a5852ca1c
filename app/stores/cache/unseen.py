"""Which names rest on a part of the store that reports no changes for now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...frontends.site import host_of
from ...routing import lookup_keys
from .route_cache import RouteCache


def seen(key: str) -> bool:
    """Of no key: the whole store reports its changes."""
    return False


def rests_on(name: str, matched: str | None, unseen: Callable[[str], bool]) -> bool:
    """Whether what is known of a name rests on a key for which `unseen` is true.

    `matched` is the key of the frontend that serves the name; None: there is none.
    """
    return any(unseen(key) for key in _read(name, matched))


def forget_unseen(memory: RouteCache, unseen: Callable[[str], bool]) -> None:
    """What rests on such a key does not count as fresh any more."""
    for name, frontend in memory.fresh().items():
        if rests_on(name, frontend.key, unseen):
            memory.invalidate(name)
    for name in memory.absent():
        if rests_on(name, None, unseen):
            memory.invalidate(name)


def _read(name: str, matched: str | None) -> Iterator[str]:
    """The keys that had to be read for it: those that come first in the order of lookups."""
    if "/" in name:
        yield name
        yield host_of(name)
        return
    for key in lookup_keys(name):
        yield key
        if key == matched:
            return
