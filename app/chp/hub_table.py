"""The routes of a hub: what its API reads and writes, and which of them takes a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..frontends.backends import BadEntry, InvalidBackendURL
from ..routing import Frontend, Route
from .target_paths import backend_of, clean_path

ACTIVITY = "last_activity"


@dataclass(slots=True)
class HubRoute:
    """One route."""

    data: Mapping[str, Any]
    """What the hub says of it: `target`, and whatever else it wants to have back."""
    route: Route = field(repr=False)
    """The same, for the proxy."""
    last_activity: float
    """Unix seconds."""

    def told(self) -> dict[str, Any]:
        """As the API has it."""
        return {**self.data, ACTIVITY: iso(self.last_activity)}


class HubTable:
    """Routes by their decoded paths. With `by_host` the first segment is a host."""

    def __init__(self, *, by_host: bool = False) -> None:
        self.by_host = by_host
        self._routes: dict[str, HubRoute] = {}
        self._matching: dict[str, HubRoute] = {}
        self._depth = 0
        self.complete = True
        """All routes that there are are in it; False until a store has been read."""

    def add(self, path: str, data: Mapping[str, Any], now: float) -> HubRoute:
        """Set the route of `path`; `data` has its target. `now`: Unix seconds."""
        path, data = self.named(path, data)
        route = HubRoute(data, Route(frontend_of(path, data["target"])), now)
        self._routes[path] = route
        self._matching[self._matched(path)] = route
        self._depth = max(self._depth, path.count("/"))
        return route

    def remove(self, path: str) -> bool:
        """Remove the route of `path`; whether there was one."""
        path = clean_path(path)
        if self._routes.pop(path, None) is None:
            return False
        self._matching.pop(self._matched(path), None)
        return True

    def get(self, path: str) -> HubRoute | None:
        """The route of exactly this path."""
        return self._routes.get(clean_path(path))

    def all(self) -> Mapping[str, HubRoute]:
        """Every route, by its path."""
        return self._routes

    def match(self, host: str, path: str) -> HubRoute | None:
        """The route with the longest path that `path`, which is decoded, lies at or below."""
        if self.by_host:
            path = f"{host}/{path.lstrip('/')}"
        name = path.strip("/")
        if (parts := name.split("/", self._depth))[self._depth :]:
            name = "/".join(parts[: self._depth])
        while True:
            route = self._matching.get(name)
            if route is not None or not name:
                return route
            name = name.rpartition("/")[0]

    def named(self, path: str, data: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """A route's name, and what is kept of it."""
        path = clean_path(path)
        if self.by_host and path != "/":
            data = {**data, "host": path.split("/")[1]}
        return path, data

    def touch(self, path: str, now: float) -> None:
        """Note that the route of `path`, if it is still there, is in use. `now`: Unix seconds."""
        if (route := self._routes.get(path)) is not None:
            route.last_activity = now

    def _matched(self, path: str) -> str:
        name = path.strip("/")
        if self.by_host:
            host, slash, rest = name.partition("/")
            name = host.lower() + slash + rest
        return name


def frontend_of(path: str, target: str) -> Frontend:
    """A route as the proxy knows it: its path is its key, its target its only backend."""
    try:
        return Frontend(path, path, (backend_of(target),))
    except InvalidBackendURL as exc:
        return Frontend(path, path, (), (BadEntry(target, 0, str(exc)),))
    except ValueError:
        return Frontend(path, path, (), (BadEntry(target, 0, "no URL"),))


def iso(seconds: float) -> str:
    """A time as JavaScript writes it.

    >>> iso(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Unix seconds of an ISO 8601 time; a day begins in UTC. Raises ValueError.

    >>> seconds_of("1970-01-02")
    86400.0
    """
    at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    if at.tzinfo is None and len(text) <= 10:
        at = at.replace(tzinfo=UTC)
    return at.timestamp()
