"""Refuses backends that nobody can mean, before they are written into a store."""

from __future__ import annotations

from collections.abc import Callable

from ..frontends.backends import MAX_BACKENDS, Backend, oddity, parse_backend
from ..masking import masked_url
from ..stores.table import Entry, TableError

Objection = Callable[[Backend], object]
"""Why the proxy would never connect to a backend; None if it would."""


def check_meant(key: str, entry: Entry, before: Entry | None, objection: Objection) -> None:
    """Raise TableError for a backend that is new and cannot be meant as it stands, or is too many.

    What is in the list already must not keep anybody from changing the rest.
    """
    known = set(before.backends) if before is not None else set[str]()
    if len(entry.backends) > max(MAX_BACKENDS, len(known)):
        raise TableError(f"{key}: a list has {MAX_BACKENDS} backends at most")
    for url in entry.backends:
        if url in known:
            continue
        backend = parse_backend(url, 0)
        if why := oddity(backend) or objection(backend):
            raise TableError(f"{key}: backend {masked_url(url)!r}: {why}")
