"""What a worker remembers of the store: bounded tables of routes and of hosts without one.

Decides nothing about the store's health; no I/O, no clock.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Collection

from ...frontends.site import Site
from ...routing import NO_MARKS, Frontend, Mark, Marks, Route
from ..base import Found
from .below import Below
from .cached_frontend import ASKED_FOR, KEEP, CachedFrontend, OwnMarks
from .used_frontends import UsedFrontends


class RouteCache:
    """At most `size` hosts with a route and as many without, least recently used out first;
    0 means no limit."""

    def __init__(self, size: int, own_marks: OwnMarks) -> None:
        self._size = size or sys.maxsize
        self._own_marks = own_marks
        self._kept: OrderedDict[str, CachedFrontend] = OrderedDict()
        self._fresh: dict[str, CachedFrontend] = {}
        """The part of _kept that is known to be true now."""
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._by_key: dict[str, CachedFrontend] = {}
        self._below = Below()
        self.uses = UsedFrontends(self._by_key)
        self.hits = 0
        self.changes = 0
        """Grows with every host that is kept or forgotten."""

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, host: str) -> bool:
        return host in self._kept or host in self._absent

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        """The route of a request if it is known to be true now."""
        served = self._fresh.get(host)
        if served is None:
            return None
        served.used = ASKED_FOR
        if served.frontend.site is not None:
            return self._by_path(served, served.frontend.site, target)
        self.hits += 1
        return served.route

    def _by_path(self, served: CachedFrontend, site: Site, target: bytes) -> Route | None:
        for key in site.keys_for(target):
            below = self._fresh.get(key)
            if below is not None:
                served = below
                served.used = ASKED_FOR
                break
            if not self.is_absent(key):
                return None
        else:
            if not site.listed:
                return None
        self.hits += 1
        return served.route

    def named(self, name: str) -> Route | None:
        """What `name` itself, a host or a prefix's key, is known to lead to now."""
        served = self._fresh.get(name)
        return served.route if served is not None else None

    def last_known(self, host: str) -> Route | None:
        """The route as it was when the store was last asked."""
        served = self._kept.get(host)
        if served is None:
            return None
        served.used |= KEEP
        return served.route

    def is_absent(self, host: str) -> bool:
        """Is `host` known to have no frontend now?"""
        if host not in self._absent:
            return False
        self._absent.move_to_end(host)
        return True

    def keep(self, host: str, found: Found, *, fresh: bool) -> Route:
        """Remember a route. An unchanged frontend stays the same object."""
        self._absent.pop(host, None)
        before = self._kept.get(host)
        if before is not None and before.frontend.key != found.frontend.key:
            self.forget(host)
        served = self._by_key.get(found.frontend.key)
        if served is None:
            served = self._by_key[found.frontend.key] = CachedFrontend(found.frontend)
            served.rebuild(self._own_marks)
        served.add(host)
        if served.take(found, host):
            served.rebuild(self._own_marks)
        self.changes += 1
        self._put(host, served)
        if fresh:
            self._fresh[host] = served
        while len(self._kept) > self._size:
            self._forget_one()
        return served.route

    def _forget_one(self) -> None:
        """The first that was not used since it was last looked at: "second chance".

        The order of use itself would cost each request more than all else that is done here.
        """
        while True:
            host, served = next(iter(self._kept.items()))
            if not served.used & KEEP:
                self.forget(host)
                return
            served.used &= ~KEEP
            self._kept.move_to_end(host)

    def restore(self, host: str, frontend: Frontend) -> None:
        """Remember what may be old, unless something is known already or there is no room."""
        if host in self or len(self._kept) >= self._size:
            return
        served = self._by_key.get(frontend.key)
        if served is None:
            served = self._by_key[frontend.key] = CachedFrontend(frontend)
        served.add(host)
        self._put(host, served, last=False)

    def _put(self, name: str, served: CachedFrontend, *, last: bool = True) -> None:
        self._kept[name] = served
        self._kept.move_to_end(name, last=last)
        self._below.add(name)

    def fresh(self) -> dict[str, Frontend]:
        """The frontend of every host that is known to be true now."""
        return {host: served.frontend for host, served in self._fresh.items()}

    def absent(self) -> set[str]:
        """Hosts that are known to have no frontend now."""
        return set(self._absent)

    def keep_absent(self, host: str) -> None:
        """Remember that `host` has no frontend."""
        self.forget(host)
        self._absent[host] = None
        if len(self._absent) > self._size:
            self._absent.popitem(last=False)

    def forget(self, host: str) -> None:
        """Remember nothing about `host`."""
        self._absent.pop(host, None)
        self._fresh.pop(host, None)
        served = self._kept.pop(host, None)
        if served is None:
            return
        self.changes += 1
        if served.by_host and served.by_host.pop(host, None):
            served.rebuild(self._own_marks)
        if served.discard(host):
            del self._by_key[served.frontend.key]
            self.uses.forgotten(served)
        self._below.discard(host)

    def invalidate(self, host: str) -> None:
        """What is known about `host` may be old, and so may marks that it shares with others."""
        self._fresh.pop(host, None)
        self._absent.pop(host, None)
        served = self._kept.get(host)
        if served is not None and served.by_host and served.by_host.pop(host, None):
            served.rebuild(self._own_marks)

    def invalidate_all(self) -> None:
        """Everything that is known may be old."""
        self._fresh.clear()
        self._absent.clear()
        for served in self._by_key.values():
            if served.by_host:
                served.by_host = None
                served.rebuild(self._own_marks)

    def invalidate_frontend(self, key: str) -> None:
        """The list of `key` changed: invalidate every host that it serves or would serve now, and
        the prefixes that inherit from it."""
        self.invalidate_site(key)
        for name in self._below.of(key):
            self._fresh.pop(name, None)

    def invalidate_site(self, key: str) -> None:
        """The prefixes of `key` changed: invalidate every host that it serves or would serve."""
        self.invalidate(key)
        for host in self._hosts_of(key):
            self._fresh.pop(host, None)
        if not key.startswith("*") or "/" in key:
            return
        suffix = key[1:]
        for host in [host for host in self._absent if host.endswith(suffix)]:
            del self._absent[host]
        # Hosts that a shorter wildcard serves may now belong to this one.
        for shorter in _shorter_wildcards(key):
            for host in [host for host in self._hosts_of(shorter) if host.endswith(suffix)]:
                self._fresh.pop(host, None)

    def frontend(self, key: str) -> Frontend | None:
        """The frontend of this key, if a kept host is served by it."""
        served = self._by_key.get(key)
        return served.frontend if served else None

    def route(self, key: str) -> Route | None:
        """The route that the hosts of this frontend share, if one of them is kept."""
        served = self._by_key.get(key)
        return served.route if served else None

    def marks(self, key: str) -> Marks:
        """The marks of this frontend; none if no kept host is served by it."""
        served = self._by_key.get(key)
        return served.route.marks if served else NO_MARKS

    def set_marks(self, key: str, marks: Marks) -> None:
        """The store's marks under a frontend's key, read anew."""
        if (served := self._by_key.get(key)) is not None:
            served.stored = marks
            served.rebuild(self._own_marks)

    def set_mark(self, key: str, url: str, mark: Mark | None) -> None:
        """One of the store's marks under a frontend's key."""
        if (served := self._by_key.get(key)) is not None:
            others = {known: m for known, m in served.stored.items() if known != url}
            self.set_marks(key, others if mark is None else {**others, url: mark})

    def rebuild(self, key: str) -> None:
        """This worker's own marks of `key` changed."""
        if (served := self._by_key.get(key)) is not None:
            served.rebuild(self._own_marks)

    def _hosts_of(self, key: str) -> Collection[str]:
        served = self._by_key.get(key)
        if served is None:
            return ()
        return (key,) if served.hosts is None else served.hosts


def _shorter_wildcards(key: str) -> list[str]:
    labels = key.split(".")[1:]
    return [*("*." + ".".join(labels[i:]) for i in range(1, len(labels))), "*"]
