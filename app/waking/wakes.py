"""The requests of one worker that wait for a backend to start, and how many may."""

from __future__ import annotations

import asyncio
from time import perf_counter

from ..errors import NotAwake, Overloaded, StillWaking
from ..frontends.options import Options
from ..routing import Route
from ..stores.routes import Routes
from ..system.background import Background
from .waking import WakeParts, Waking

MAX_WAITING = 1_000
"""Requests that wait, of all frontends: each has a connection and its memory."""
MAX_WAITING_EACH = 250
"""Of one frontend."""
PAGE_AFTER = 2.0
"""Seconds after which a browser gets a page that asks again by itself."""


class Wakes:
    """Costs nothing where no frontend has `wake`: only requests that fail come here."""

    def __init__(self, parts: WakeParts) -> None:
        self._parts = parts
        self._wakings: dict[str, Waking] = {}
        self._waiting = 0
        self._background = Background(lambda reason: None)

    def is_asleep(self, route: Route) -> bool:
        """Whether a request may wait because no backend lives, and somebody can start one."""
        if self._parts.options(route).wake is None:
            return False
        now = self._parts.routes.in_memory(route.frontend.key) or route
        return not self._parts.may_serve(now)

    async def wait(
        self, route: Route, host: str, target: bytes, *, since: float, browser: bool
    ) -> Route:
        """The route when a backend lives.

        `since` is when the request came, on `perf_counter`; a `browser` can show a page meanwhile.
        Raises StillWaking, NotAwake, Overloaded, and what finding a route raises.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded("too many requests wait for frontends to wake")
        known = self._parts.routes.known(host, target)
        if known is not None and known.frontend.key != route.frontend.key:
            host = route.frontend.key  # a hook has led the request elsewhere
        options = self._parts.options(route)
        waking = self._waking(route, host, target)
        if waking.waiting >= MAX_WAITING_EACH:
            raise Overloaded("too many requests wait for this frontend to wake")
        waking.waiting += 1
        self._waiting += 1
        try:
            left = since + options.wake_timeout - perf_counter()
            await self._until_awake(waking, options, left, browser=browser)
        finally:
            self._waiting -= 1
            waking.leave()
        return await self._as_before(route, options, host, target)

    async def _until_awake(
        self, waking: Waking, options: Options, left: float, *, browser: bool
    ) -> None:
        try:
            async with asyncio.timeout(max(0.0, min(left, PAGE_AFTER) if browser else left)):
                await waking.awake.wait()
        except TimeoutError:
            if browser and waking.age() < options.wake_timeout:
                raise StillWaking from None
            raise NotAwake from None

    async def _as_before(self, route: Route, options: Options, host: str, target: bytes) -> Route:
        routes: Routes = self._parts.routes
        found = routes.known(host, target) or await routes.find(host, target)
        same = found.frontend.key == route.frontend.key
        if not same or self._parts.options(found).protection != options.protection:
            # Who may enter was asked under the rules of before.
            raise NotAwake("the site has changed while the request waited")
        return found

    def _waking(self, route: Route, host: str, target: bytes) -> Waking:
        key = route.frontend.key
        waking = self._wakings.get(key)
        if waking is None or waking.awake.is_set():
            waking = self._wakings[key] = Waking(self._parts, route, host, target)
            self._background.spawn(self._run(waking), f"waking {key}")
        return waking

    async def _run(self, waking: Waking) -> None:
        try:
            await waking.run()
        finally:
            if self._wakings.get(waking.key) is waking:
                del self._wakings[waking.key]

    async def aclose(self) -> None:
        """Wake nobody any more."""
        await self._background.aclose()
