"""A hub's table as the proxy's routes: found by path, never marked dead."""

from __future__ import annotations

from time import perf_counter

from ..errors import FrontendNotFound, StoreUnavailable
from ..routing import NO_MARKS, Backend, Frontend, Mark, Marks, Route
from ..stores.routes import Routes
from .hub_numbers import HubNumbers
from .hub_table import HubTable
from .target_paths import UndecodablePath, decoded, plain_path


class HubRoutes(Routes):
    """Each route has one target. That it does not answer is for the hub to know, not for us."""

    def __init__(self, table: HubTable, numbers: HubNumbers) -> None:
        self._table = table
        self._hub_numbers = numbers

    @property
    def ready(self) -> bool:  # type: ignore[override] # it has a value of its own elsewhere
        """The table has been read."""
        return self._table.complete

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        """None where nothing matches: then `find` says why."""
        started = perf_counter()
        try:
            found = self._table.match(host, decoded(plain_path(target)))
        except UndecodablePath:
            return None
        finally:
            self._hub_numbers.took("find_target_for_req", perf_counter() - started)
        return None if found is None else found.route

    async def find(self, host: str, target: bytes = b"/") -> Route:
        """Raises FrontendNotFound, UndecodablePath and StoreUnavailable."""
        found = self._table.match(host, decoded(plain_path(target)))
        if found is None and not self._table.complete:
            raise StoreUnavailable("the routes have not been read yet")
        if found is None:
            raise FrontendNotFound("no route for this path")
        return found.route

    def mark_dead(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, share: bool = True
    ) -> None:
        """Nothing: there is no other target."""

    def clear_mark(self, frontend: Frontend, backend: Backend) -> None:
        """There is none."""

    def marks_of(self, frontend: Frontend) -> Marks:
        """None."""
        return NO_MARKS

    def announce(self, frontend: Frontend, backend: Backend) -> None:
        """To nobody."""

    async def start(self) -> None:
        """The table is there."""

    async def aclose(self) -> None:
        """Nothing is held."""
