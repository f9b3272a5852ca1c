"""The kinds of keys in Redis; what follows the colon is a frontend's key."""

from __future__ import annotations

from ...frontends.site import host_of

FRONTEND, OPTIONS, DEAD, DEAD_INFO = "frontend:", "options:", "dead:", "dead-info:"
HEALTHCHECK = "healthcheck:"
JOURNAL = "hipache:journal"
"""The stream of changes of frontends."""
USED = "hipache:used"
"""The hash of when frontends were last used."""
PATHS = "paths:"
"""The set of a host's prefixes, each with its slash in front; absent for most hosts."""


class KeyNames:
    """How the keys of frontends are named in one store.

    >>> KeyNames("").of(DEAD, "a.example/api"), KeyNames("", tagged=True).of(DEAD, "a.example/api")
    ('dead:a.example/api', 'dead:{a.example}/api')
    """

    def __init__(self, prefix: str, *, tagged: bool = False) -> None:
        """`tagged`: all keys of a host are in one slot of a cluster."""
        self.prefix, self.tagged = prefix, tagged

    def of(self, kind: str, key: str) -> str:
        """The name of a kind's key of a frontend."""
        if not self.tagged:
            return f"{self.prefix}{kind}{key}"
        host = host_of(key)
        return f"{self.prefix}{kind}{{{host}}}{key[len(host) :]}"

    def key_in(self, rest: str) -> str:
        """The frontend's key in what follows the kind.

        >>> KeyNames("", tagged=True).key_in("{a.example}/x")
        'a.example/x'
        """
        return rest.replace("{", "", 1).replace("}", "", 1) if self.tagged else rest
