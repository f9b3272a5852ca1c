"""What one change of several frontends has written so far. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...journal import RouteChange, changes_of
from ...table import Entry, Table, same_tables

NOTHING = Entry("", listed=False)


class Written:
    """Frontends by what they were before the change, and what it made of them."""

    def __init__(self) -> None:
        self._before: Table = {}
        self._after: dict[str, Entry | None] = {}

    def note(self, key: str, before: Entry | None, after: Entry | None) -> None:
        """`key` is written; what it was counts the first time."""
        if key not in self._after and before is not None:
            self._before[key] = before
        self._after[key] = after

    def undone_in(self, now: Table) -> Table:
        """What the store would hold without the change; what others wrote since stays."""
        table = dict(now)
        for key, entry in self._after.items():
            if is_still(now.get(key), entry):
                table.pop(key, None)
                if key in self._before:
                    table[key] = self._before[key]
        return table

    def changes(self, *, by: str, at: float) -> Iterator[RouteChange]:
        """For the journal."""
        after = {key: entry for key, entry in self._after.items() if entry is not None}
        return changes_of(self._before, after, self._after.keys(), by=by, at=at)


def is_still(now: Entry | None, then: Entry | None) -> bool:
    """Is a frontend what it was, whatever time is left? A host without a list cannot be told from
    one that is not there as long as it has no prefixes."""
    if now is None:
        return then is None or not then.listed
    return same_tables({"": now}, {"": then or NOTHING})
