"""A store as the commands see it: a table of frontends that is changed as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from ..routing import Frontend, lookup_keys, parse_frontend
from .table import Table

Edit = Callable[[Table], Table]


class RouteTable(Protocol):
    """Every method raises StoreUnavailable or TableError."""

    @property
    def rows_at_once(self) -> int | None:
        """Rows and fields that one change may write, lest everybody else waits for the store too
        long; None for any number. `hipache route import` makes several changes of more."""

    async def read(self, keys: Collection[str] | None = None) -> Table:
        """The frontends of these keys that exist; of all keys without `keys`."""

    async def change(self, keys: Collection[str], edit: Edit) -> None:
        """Replace the frontends of `keys` by what `edit` makes of them, all at once.

        `edit` gets those that exist and may be called again if somebody else
        writes meanwhile. Whatever it raises leaves the store as it was.
        """

    async def wait(self, seconds: float) -> tuple[int, list[str]]:
        """Wait until every running worker has what was changed: how many there are, and the
        names of those that did not have it within `seconds`."""

    async def aclose(self) -> None:
        """Release connections."""


async def frontend_in(table: RouteTable, host: str) -> Frontend | None:
    """The frontend that serves `host`. Raises StoreUnavailable or TableError."""
    keys = lookup_keys(host)
    found = await table.read(keys)
    key = next((key for key in keys if key in found), None)
    return None if key is None else parse_frontend(key, found[key].rows, found[key].options)
