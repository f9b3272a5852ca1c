"""From a host's answer to the frontend that takes a request's path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from ..errors import FrontendNotFound
from ..routing import Route

Find = Callable[[str], Awaitable[Route]]
"""The route of a key, read if need be. Raises FrontendNotFound, StoreUnavailable."""


async def by_path(route: Route, target: bytes, find: Find) -> Route:
    """The route of the longest prefix that takes `target`, else of the host itself.

    A prefix whose list is gone, because it expired, takes nothing. Raises FrontendNotFound for a
    path that no list is for, and StoreUnavailable.
    """
    site = route.frontend.site
    if site is None:
        return route
    for key in site.keys_for(target):
        with suppress(FrontendNotFound):
            return await find(key)
    if not site.listed:
        raise FrontendNotFound("no frontend for this path")
    return route
