"""The journal: who changed which frontend, when, from what to what. Pure.

Every change through a `RouteTable` is written there. What other programs change is not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..frontends.site import host_of
from .table import (
    Entry,
    TableError,
    entry_of,
    existing,
    in_file_form,
    same_tables,
    without_secrets,
)

MAX_CHANGES = 10_000
"""Changes that are kept, about; older ones are forgotten."""
MAX_FORM = 8_192
"""Characters of what a frontend was or became. What is longer is not kept and cannot be undone."""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One change of one frontend."""

    at: float
    """Unix time, by the clock of the machine that changed it."""
    by: str
    """Who changed it, as in `alice@gate1`."""
    key: str
    before: Entry | None
    after: Entry | None
    whole: bool = True
    """False: it was too long to be kept, so `before` and `after` are not known."""


def changes_of(
    before: Mapping[str, Entry], after: Mapping[str, Entry], keys: Collection[str], *, by: str,
    at: float,
) -> Iterator[RouteChange]:  # fmt: skip
    """What becomes of the frontends of these keys that do not stay as they are."""
    for key in sorted(keys):
        old, new = existing(before, key), existing(after, key)
        if old != new:
            yield RouteChange(at, by, key, old, new)


def dump_change(change: RouteChange) -> str:
    """One line of JSON that `parse_change` reads."""
    who = json.dumps({"at": round(change.at, 3), "by": change.by, "key": change.key})
    before, after = _dumped(change.before), _dumped(change.after)
    if max(len(before), len(after)) > MAX_FORM:
        return who
    return f'{who[:-1]}, "before": {before}, "after": {after}}}'


def parse_change(text: str) -> RouteChange | None:
    """None for what is no change: the journal stands where others can write, too."""
    try:
        found = json.loads(text)
        at, by, key = float(found["at"]), str(found["by"]), str(found["key"])
        if "before" not in found:
            return RouteChange(at, by, key, None, None, whole=False)
        return RouteChange(at, by, key, _entry(key, found["before"]), _entry(key, found["after"]))
    except (ValueError, TypeError, KeyError, TableError, RecursionError):
        return None


def shown_as_json(change: RouteChange) -> dict[str, object]:
    """A change as people and programs may see it, without hashes of passwords."""
    told: dict[str, object] = {"at": change.at, "by": change.by, "frontend": change.key}
    if change.whole:
        told |= {"before": _shown(change.before), "after": _shown(change.after)}
    return told


def _shown(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    form = in_file_form(entry)
    return form | ({"options": without_secrets(entry.options)} if entry.options else {})


def newest(lines: Iterable[str], host: str | None) -> Iterator[RouteChange]:
    """The changes in `lines` that concern `host`, a key, and its prefixes; all of them for None."""
    for line in lines:
        change = parse_change(line)
        if change is not None and (host is None or host in (change.key, host_of(change.key))):
            yield change


def undone(last: RouteChange | None, key: str, now: Entry | None) -> Entry | None:
    """What the frontend was before its last change. `now` is what it is.

    Raises TableError where the journal does not tell it.
    """
    if last is None:
        raise TableError(f"{key}: the journal knows no change of it")
    if not last.whole:
        raise TableError(f"{key}: its last change was too long to be kept, so it cannot be undone")
    if not same_tables(_alone(key, now), _alone(key, last.after)):
        raise TableError(
            f"{key}: it is not as its last change in the journal left it: another program has "
            "changed it since, or it has expired; nothing was undone"
        )
    return last.before


def _alone(key: str, entry: Entry | None) -> dict[str, Entry]:
    return {} if entry is None else {key: entry}


def _dumped(entry: Entry | None) -> str:
    return "null" if entry is None else json.dumps(in_file_form(entry))


def _entry(key: str, form: Any) -> Entry | None:
    return None if form is None else entry_of(key, form)
