"""One frontend as it is served: its route, and the marks of which that is made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...routing import NO_MARKS, Frontend, Mark, Marks, Route
from ..base import Found

KEEP, NOTE = 1, 2
ASKED_FOR = KEEP | NOTE
OwnMarks = Callable[[str], Mapping[str, Mark | None]]
"""What this worker itself says of a frontend's marks, by URL; None: there is no mark."""


class CachedFrontend:
    """All hosts that match a frontend share this object."""

    __slots__ = ("by_host", "frontend", "hosts", "route", "stored", "used")

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
        self.stored: Marks = NO_MARKS
        self.by_host: dict[str, Marks] | None = None
        """Marks that stand under a requested host, for the few hosts that have any."""
        # A key without a wildcard has one host, itself, and so has a prefix. An empty set would
        # cost more than the rest.
        shared = frontend.key.startswith("*") and not frontend.prefix
        self.hosts: set[str] | None = set() if shared else None
        self.route = Route(frontend)
        self.used = 0
        """Asked for since room was last made (KEEP), and since uses were last noted (NOTE)."""

    def add(self, host: str) -> None:
        """`host` is served by this frontend."""
        if self.hosts is not None:
            self.hosts.add(host)

    def discard(self, host: str) -> bool:
        """`host` is no longer served by it. Returns whether no host is left."""
        if self.hosts is None:
            return True
        self.hosts.discard(host)
        return not self.hosts

    def take(self, found: Found, host: str) -> bool:
        """Take over what was read for `host`. Returns False if that was known already."""
        before = self.by_host.get(host, NO_MARKS) if self.by_host else NO_MARKS
        same = _same(self.frontend, found.frontend)
        if same and self.stored == found.marks and before == found.host_marks:
            return False
        if not same:
            self.frontend = found.frontend
        self.stored = found.marks
        if found.host_marks:
            self.by_host = {**(self.by_host or {}), host: found.host_marks}
        elif self.by_host:
            self.by_host.pop(host, None)
        return True

    def rebuild(self, own_marks: OwnMarks) -> None:
        """Make `route` anew. Among marks of the store the latest counts, ours before them all."""
        own = own_marks(self.frontend.key)
        if not self.stored and not self.by_host and not own:
            self.route = Route(self.frontend)
            return
        marks = dict(self.stored)
        for foreign in (self.by_host or {}).values():
            for url, mark in foreign.items():
                if url not in marks or marks[url].until < mark.until:
                    marks[url] = mark
        for url, ours in own.items():
            if ours is None:
                marks.pop(url, None)
            else:
                marks[url] = ours
        self.route = Route(self.frontend, marks)


def _same(one: Frontend, other: Frontend) -> bool:
    """Do both say the same? Only then may what is kept per frontend live on."""
    return (
        one.identifier == other.identifier
        and one.backends == other.backends
        and one.bad_entries == other.bad_entries
        and one.options == other.options
        and one.site == other.site
    )
