"""Who keeps a hub's routes: this process alone, or a store that several proxies share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from ..stores.hub_records import HubRecords
from .hub_table import HubTable
from .store_keeper import StoreKeeper


class RouteKeeper(Protocol):
    """What the API writes to. Every method may raise StoreUnavailable."""

    async def add(self, path: str, data: Mapping[str, Any]) -> None:
        """Set a route. It counts in this process afterwards."""

    async def remove(self, path: str) -> bool:
        """Remove a route; whether there was one. It counts in this process afterwards."""

    async def gather(self) -> None:
        """Learn when other proxies had routes in use last."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keeps the table true while it is open."""


class MemoryKeeper:
    """The table is all there is."""

    def __init__(self, table: HubTable, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._table = table
        self._clock = clock

    async def add(self, path: str, data: Mapping[str, Any]) -> None:
        """At once."""
        self._table.add(path, data, self._clock())

    async def remove(self, path: str) -> bool:
        """At once."""
        return self._table.remove(path)

    async def gather(self) -> None:
        """There are no others."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Nothing is to be done."""
        yield


def keeper_of(
    table: HubTable,
    clock: Callable[[], float],
    records: HubRecords | None,
    *,
    default_target: str | None,
) -> RouteKeeper:
    """Who keeps the routes: this process, where there are no `records`."""
    if records is not None:
        return StoreKeeper(table, clock, records, default_target=default_target)
    if default_target is not None:
        table.add("/", {"target": default_target}, clock())
    return MemoryKeeper(table, clock)
