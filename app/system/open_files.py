"""The limit of open files of this process: each connection counts as one."""

from __future__ import annotations

import resource

KEPT = 64
"""Files that a worker needs beside connections: for logs, the store and the listeners."""
UNLIMITED = 1 << 20
"""Used if the system sets no limit, or an absurdly high one."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one, for this process and its children; returns it.

    The soft limit is low for programs that use select(), which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = highest()
    if limit() < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """The soft limit."""
    return _bounded(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def highest() -> int:
    """The limit that `raise_limit` can reach."""
    return _bounded(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _bounded(number: int) -> int:
    return UNLIMITED if number == resource.RLIM_INFINITY else min(number, UNLIMITED)
