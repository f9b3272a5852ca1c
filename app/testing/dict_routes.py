"""A store of a dictionary: frontends by key, changed at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence

from ..errors import FrontendNotFound
from ..routing import (
    NO_MARKS,
    NO_OPTIONS,
    Backend,
    Frontend,
    Mark,
    Marks,
    Route,
    lookup_keys,
    parse_frontend,
)
from ..stores.by_path import by_path
from ..stores.routes import Routes
from ..stores.served import served_by
from ..stores.table import Entry, check_entry, check_key

RouteValue = Sequence[str] | Entry


class DictRoutes(Routes, MutableMapping[str, RouteValue]):
    """Frontends in memory, for one process. It belongs to no event loop.

    >>> routes = DictRoutes({"www.example.com": ["http://127.0.0.1:8001"]})
    >>> list(routes)
    ['www.example.com']
    """

    ready = True

    def __init__(self, routes: Mapping[str, RouteValue] | None = None) -> None:
        """Raises TableError where a key or a backend cannot be used."""
        self._entries: dict[str, Entry] = {}
        self._frontends: dict[str, Frontend] = {}
        self._marks: dict[str, dict[str, Mark]] = {}
        self._routes: dict[str, Route] = {}
        self.update(routes or {})

    # -- MutableMapping

    def __getitem__(self, key: str) -> Entry:
        return self._entries[check_key(key)]

    def __setitem__(self, key: str, value: RouteValue) -> None:
        """Write a frontend: URLs of backends, or an Entry. Raises TableError."""
        if isinstance(value, str):
            raise TypeError(f"{key}: expected a list of URLs, found a string")
        key = check_key(key)
        entry = value if isinstance(value, Entry) else Entry(key, tuple(value))
        check_entry(key, entry)
        self._serve(self._entries | {key: entry})

    def __delitem__(self, key: str) -> None:
        key = check_key(key)
        self._serve({k: v for k, v in self._entries.items() if k != check_key(key)})

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: str, *backends: str, options: Mapping[str, str] = NO_OPTIONS) -> None:
        """Write a frontend with options, as `hipache route set` and `option set` do.

        Raises TableError.
        """
        self[key] = Entry(key, backends, options)

    def _serve(self, entries: dict[str, Entry]) -> None:
        self._entries = entries
        self._frontends = {
            key: parse_frontend(key, *parts) for key, parts in served_by(entries).items()
        }
        self._routes = {}

    # -- Routes

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        """None: `find` is as fast."""
        return None

    async def find(self, host: str, target: bytes = b"/") -> Route:
        """The route of a request. Raises FrontendNotFound."""
        return await by_path(await self.find_host(host), target, self.find_host)

    async def find_host(self, host: str) -> Route:
        """What leads on from a host or from a frontend's key. Raises FrontendNotFound."""
        for key in lookup_keys(host):
            if (frontend := self._frontends.get(key)) is not None:
                return self._route(frontend)
        raise FrontendNotFound

    def _route(self, frontend: Frontend) -> Route:
        """The same object until something changes: turns are counted on it."""
        route = self._routes.get(frontend.key)
        if route is None:
            route = Route(frontend, dict(self.marks_of(frontend)))
            self._routes[frontend.key] = route
        return route

    def mark_dead(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, share: bool = True
    ) -> None:
        """Mark at once."""
        self._marks.setdefault(frontend.key, {})[backend.url] = mark
        self._routes.pop(frontend.key, None)

    def clear_mark(self, frontend: Frontend, backend: Backend) -> None:
        """Forget a mark at once."""
        self._marks.get(frontend.key, {}).pop(backend.url, None)
        self._routes.pop(frontend.key, None)

    def marks_of(self, frontend: Frontend) -> Marks:
        """The marks of this frontend."""
        return self._marks.get(frontend.key, NO_MARKS)

    def marks(self, key: str) -> Marks:
        """The marks of a frontend by the backends' URLs, for a test to look at."""
        return dict(self._marks.get(check_key(key), {}))

    def announce(self, frontend: Frontend, backend: Backend) -> None:
        """Nothing: no other program listens."""

    async def start(self) -> None:
        """Nothing: all is in memory."""

    async def aclose(self) -> None:
        """Nothing: the proxy may be started again with the same routes."""
