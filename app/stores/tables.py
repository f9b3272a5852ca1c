"""A store as the commands see it: a table of frontends that is changed as a whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from ..errors import StoreUnavailable
from ..routing import Frontend, lookup_keys, parse_frontend
from .journal import RouteChange
from .key_pattern import KeyPattern
from .table import Table, TableError
from .uses import LastUses

Edit = Callable[[Table], Table]


class RouteTable(Protocol):
    """Every method raises StoreUnavailable or TableError."""

    by: str
    """Who changes it, for the journal: at first the user of this process."""

    @property
    def rows_at_once(self) -> int | None:
        """Rows and fields that one change may write, lest everybody else waits for the store too
        long; None for any number. `hipache route import` makes several changes of more."""

    async def read(self, keys: Collection[str] | None = None) -> Table:
        """The frontends of these keys that exist; of all keys without `keys`."""

    async def scan(self, cursor: int, matching: KeyPattern) -> tuple[int, list[str]]:
        """Some of the keys that match, in no order, and the cursor to go on with.

        0 begins, and is given back at the end. Keys that are there all the time come at least
        once. Also those of hosts that have prefixes and nothing else.
        """

    async def change(self, keys: Collection[str], edit: Edit) -> None:
        """Replace the frontends of `keys` by what `edit` makes of them, all at once.

        `edit` gets those that exist and may be called again if somebody else
        writes meanwhile. Whatever it raises leaves the store as it was. A store
        that cannot change several at once raises PartlyChanged where it wrote some.
        """

    async def journal(self, key: str | None, most: int) -> list[RouteChange]:
        """The last changes of this key and, if it is a host, of its prefixes, the newest first.

        None: of all keys. A store that keeps no journal has none.
        """

    async def last_uses(self) -> LastUses:
        """When frontends were last used, as far as that was noted."""

    async def wait(self, seconds: float) -> tuple[int, list[str]]:
        """Wait until every running worker has what was changed: how many there are, and the
        names of those that did not have it within `seconds`."""

    async def aclose(self) -> None:
        """Release connections."""


class ChangedButNotSeen(TableError):
    """The change is made, but some workers did not have it in time."""


class PartlyChanged(StoreUnavailable):
    """Some frontends of a change are written, and the journal tells of them; others are not."""

    def __init__(self, reason: Exception, written: int, total: int) -> None:
        super().__init__(f"{reason}; {written} of {total} frontends were written before that")
        self.written = written


async def seen_by_all(
    table: RouteTable, change: Callable[[], Awaitable[None]], seconds: float
) -> int:
    """Make a change, and wait until every running worker has it: how many there are.

    Raises ChangedButNotSeen after `seconds`, and what `change` raises.
    """
    await table.wait(0)  # fails before the change if this user may not ask the workers
    await change()
    workers, missing = await table.wait(seconds)
    if missing:
        raise ChangedButNotSeen(
            f"changed, but {len(missing)} of {workers} workers did not have it "
            f"after {seconds:g} s: {', '.join(missing)}"
        )
    return workers


async def frontend_in(table: RouteTable, host: str) -> Frontend | None:
    """The frontend that serves `host`. Raises StoreUnavailable or TableError."""
    keys = lookup_keys(host)
    found = await table.read(keys)
    key = next((key for key in keys if key in found), None)
    return None if key is None else parse_frontend(key, found[key].rows, found[key].options)
