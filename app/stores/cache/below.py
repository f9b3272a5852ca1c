"""Which prefixes of a host are kept: what changes for the host changes for them. Pure."""

from __future__ import annotations

from collections.abc import Collection

from ...frontends.site import host_of


class Below:
    """Names of prefixes' frontends, by the key of their host."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def add(self, name: str) -> None:
        """`name` is kept. A host's name makes no difference."""
        if "/" in name:
            self._names.setdefault(host_of(name), set()).add(name)

    def discard(self, name: str) -> None:
        """`name` is kept no longer."""
        if "/" not in name:
            return
        host = host_of(name)
        names = self._names[host]
        names.remove(name)
        if not names:
            del self._names[host]

    def of(self, key: str) -> Collection[str]:
        """The names below the key of a host."""
        return self._names.get(key, ())
