"""A store as the commands see it: a table of frontends that is changed as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from ..config.driver import parse_driver
from ..config.structs import Config
from .embedded.store import EmbeddedServer
from .file.table import FileTable
from .redis.table import RedisTable
from .table import Table

TIMEOUT = 30.0
"""Seconds for each answer: a whole table takes longer than the one read of a request."""

Edit = Callable[[Table], Table]


class RouteTable(Protocol):
    """Every method raises StoreUnavailable or TableError."""

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


def open_table(config: Config) -> RouteTable:
    """The table that `driver` names. May start the embedded server, so it may wait.

    Raises ConfigError, StoreUnavailable.
    """
    drivers = [parse_driver(url) for url in config.driver]
    if drivers[0].scheme == "file":
        return FileTable(drivers[0].path)
    if drivers[0].scheme != "embedded":
        return RedisTable(drivers, timeout=TIMEOUT)
    server = EmbeddedServer(drivers[0].path)
    server.acquire()
    return RedisTable([server.driver], timeout=TIMEOUT, release=server.release)
