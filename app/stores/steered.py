"""What one act of steering makes of a frontend: drain, maintenance, pause, weight. Pure.

Each takes the frontend as it is and gives what it becomes; who writes that checks it first
(stores.meant). Each raises TableError where it means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..config.durations import seconds
from ..frontends.backends import trimmed
from ..frontends.maintenance import MAX_MESSAGE, is_off
from .table import Entry, TableError

TIMES = frozenset(
    {"forwardAuthTimeout", "hsts", "maintenanceRetry", "pause", "slowStart", "wakeTimeout"}
)
"""Options that are seconds, and stand in the store as numbers: older readers know no more."""


def with_option(entry: Entry, name: str, value: str) -> Entry:
    """An option has this value; that of a time may be written as 30s, 10m, 2h, 7d.

    >>> with_option(Entry("a"), "hsts", "3650d").options["hsts"]
    '315360000'
    """
    if name in TIMES and (number := seconds(value)) is not None:
        value = str(int(number)) if number.is_integer() else str(number)
    return replace(entry, options={**entry.options, name: value})


def without_option(entry: Entry, name: str) -> Entry:
    """An option is not there; nothing happens where it is not."""
    return replace(
        entry, options={known: value for known, value in entry.options.items() if known != name}
    )


def unset(entry: Entry, name: str) -> Entry:
    """An option that is set is removed."""
    if name not in entry.options:
        raise TableError(f"no option {name!r} is set")
    return without_option(entry, name)


def drained(entry: Entry, url: str) -> Entry:
    """A backend gets nothing new."""
    return with_option(entry, f"drain:{listed_as(entry, url)}", "on")


def undrained(entry: Entry, url: str) -> Entry:
    """A backend serves again."""
    return without_option(entry, f"drain:{listed_as(entry, url)}")


def weighed(entry: Entry, url: str, weight: str) -> Entry:
    """A backend gets this share; 1 is what all have that say nothing."""
    name = f"weight:{listed_as(entry, url)}"
    return without_option(entry, name) if weight == "1" else with_option(entry, name, weight)


def shut(
    entry: Entry, message: str, retry_after: int | None = None, allow: tuple[str, ...] = ()
) -> Entry:
    """The site is under maintenance: `message` is what visitors are told, `on` the usual words."""
    if is_off(message) or len(message) > MAX_MESSAGE:
        raise TableError(f"message: expected some words, at most {MAX_MESSAGE} characters")
    options: dict[str, str] = {**opened(entry).options, "maintenance": message}
    if retry_after is not None:
        options["maintenanceRetry"] = str(retry_after)
    if allow:
        options["maintenanceAllow"] = " ".join(allow)
    return replace(entry, options=options)


def opened(entry: Entry) -> Entry:
    """The site is no longer under maintenance."""
    kept: Mapping[str, str] = {
        name: value for name, value in entry.options.items() if not name.startswith("maintenance")
    }
    return replace(entry, options=kept)


def listed_as(entry: Entry, url: str) -> str:
    """A backend's URL as it stands in the list."""
    for known in entry.backends:
        if trimmed(known) == trimmed(url):
            return trimmed(known)
    raise TableError(f"{url!r} is none of its backends: {', '.join(entry.backends) or 'none'}")


def with_backend(entry: Entry, url: str) -> Entry:
    """A backend is added to the end of the list."""
    return replace(entry, backends=(*entry.backends, trimmed(url)))


def without_backend(entry: Entry, url: str) -> Entry:
    """A backend is taken from the list."""
    gone = listed_as(entry, url)
    return replace(entry, backends=tuple(u for u in entry.backends if trimmed(u) != gone))
