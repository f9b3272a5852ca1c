"""Refuses changes of a frontend that nobody can mean, before they are written. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..frontends.backends import MAX_BACKENDS, Backend, oddity, parse_backend
from ..frontends.settings import settings_of
from ..masking import masked_url
from .table import Entry, TableError, check_entry

Objection = Callable[[Backend], object]
"""Why the proxy would never connect to a backend; None if it would."""


def check_change(key: str, after: Entry, before: Entry | None, objection: Objection) -> None:
    """Raise TableError where a new list or new options of one frontend cannot be used."""
    check_entry(key, after)
    check_meant(key, after, before, objection)
    check_options(key, after, before)


def check_options(key: str, after: Entry, before: Entry | None) -> None:
    """Raise TableError for an option that is new and cannot be used.

    What is wrong already must not keep anybody from changing the rest.
    """
    if before is not None and before.options == after.options:
        return
    known = () if before is None else _problems(before)
    for problem in _problems(after):
        if problem not in known:
            raise TableError(f"{key}: {problem}")


def _check_wake(key: str, after: Entry, before: Entry | None, objection: Objection) -> None:
    """Raise TableError for a new `wake` that the proxy would never call."""
    service = settings_of(after.options).values.get("wake")
    old = None if before is None else before.options.get("wake")
    if service is not None and after.options["wake"] != old and (why := objection(service.backend)):
        raise TableError(f"{key}: wake {service.shown!r}: {why}")


def _problems(entry: Entry) -> tuple[str, ...]:
    return settings_of(entry.options).for_list(entry.backends).problems


def check_meant(key: str, entry: Entry, before: Entry | None, objection: Objection) -> None:
    """Raise TableError for a backend or a `wake` that is new and cannot be meant as it stands, or
    for too many backends.

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
            raise TableError(f"{key}: backend {masked_url(url)!r} is refused: {why}")
    _check_wake(key, entry, before, objection)
