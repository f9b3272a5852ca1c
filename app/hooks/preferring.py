"""Narrows a route to some of its backends, for one request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType
from weakref import WeakKeyDictionary

from ..routing import Route

MAX_NARROWED = 256
"""Different choices of backends that are remembered for one route."""

# The balancer plans once for each Route: equal choices have to be the same Route.
_narrowed: WeakKeyDictionary[Route, dict[frozenset[str], Route]] = WeakKeyDictionary()


def prefer(route: Route, *urls: str) -> Route:
    """The same route for requests that shall go to these backends while one of them lives.

    `urls` are spelt as in the list; those that it does not have are ignored. With none left
    this is `route` itself. To the balancer the other backends are drained: a client whose
    sticky cookie names one stays there, and they serve when no preferred backend can.
    """
    listed = {backend.url for backend in route.frontend.backends}
    wanted = frozenset(urls) & listed
    if not wanted or wanted == listed:
        return route
    known = _narrowed.setdefault(route, {})
    if wanted not in known:
        if len(known) >= MAX_NARROWED:
            known.clear()
        known[wanted] = _without(route, listed - wanted)
    return known[wanted]


def _without(route: Route, others: Collection[str]) -> Route:
    frontend = route.frontend
    settings = frontend.settings
    drained = frozenset(settings.values.get("drained", ())) | frozenset(others)
    values = MappingProxyType({**settings.values, "drained": drained})
    return Route(replace(frontend, settings=replace(settings, values=values)), route.marks)
