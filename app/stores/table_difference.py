"""What a change of a table does, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .journal import RouteChange
from .table import Entry, by_domain, existing, without_secrets


def difference(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Iterator[str]:
    """What becomes of each frontend that does not stay as it is, a line each."""
    for key in sorted(before.keys() | after.keys(), key=by_domain):
        old, new = (existing(table, key) for table in (before, after))
        if old == new:
            continue
        if old is None or new is None:
            sign, entry = ("+", new) if old is None else ("-", old)
            yield f"{sign} {key}  {' '.join(entry.rows if entry else ())}".rstrip()
        else:
            yield f"~ {key}  {_changed(old, new)}"


def in_words(change: RouteChange) -> Iterator[str]:
    """What one change in the journal did."""
    if not change.whole:
        yield f"~ {change.key}  too long to be kept"
        return
    before, after = (
        {} if entry is None else {change.key: entry} for entry in (change.before, change.after)
    )
    yield from difference(before, after)


def _changed(old: Entry, new: Entry) -> str:
    parts = [f"-{url}" for url in old.backends if url not in new.backends]
    parts += [f"+{url}" for url in new.backends if url not in old.backends]
    if old.identifier != new.identifier:
        parts.append(f"id {old.identifier} -> {new.identifier}")
    if old.options != new.options:
        was, now = _only_in(old.options, new.options), _only_in(new.options, old.options)
        parts.append(f"options {without_secrets(was)} -> {without_secrets(now)}")
    if old.healthcheck != new.healthcheck:
        was = _only_in(old.healthcheck, new.healthcheck)
        parts.append(f"healthcheck {was} -> {_only_in(new.healthcheck, old.healthcheck)}")
    if old.ttl != new.ttl:
        parts.append(f"ttl {old.ttl} -> {new.ttl}")
    if old.named != new.named:
        parts.append("named among the prefixes of its host")
    return " ".join(parts) or "the order of its backends"


def _only_in(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """What `other` has not, or otherwise."""
    return {name: value for name, value in one.items() if other.get(name) != value}
