"""One frontend that is being woken, as one worker sees it.

Three things go on until a backend lives, or nobody waits any more: one proxy of the fleet calls
who starts it, again and again with longer pauses; this worker hears what changes in the store;
and it asks the dead backends of the list, for one that starts where it was tells no store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from ..errors import ProxyError, StoreUnavailable
from ..frontends.options import Options
from ..frontends.services import Service
from ..routing import Backend, Frontend, Route
from ..stores.base import FOREIGN
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes

logger = logging.getLogger(__name__)

LEASE_SLACK = 2.0
"""Seconds that the lease lasts beyond the time in which its holder needs it again."""
ASK_EVERY = 3.0
"""Seconds after which a worker that does not call asks whether it may: the caller may be gone."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
"""Seconds between calls: each pause is twice as long as the one before."""
FIRST_LOOK, LONGEST_LOOK = 0.1, 1.0
"""The same for looks at the dead backends."""
MOST_LOOKED_AT = 8
"""Backends of a list that are asked at a time."""
LOOK_AT_ROUTE = 1.0
"""Seconds after which the route is looked at in any case: a store that tells nothing is asked
again."""
LINGER = 10.0
"""Seconds for which it goes on when nobody waits: a browser asks again every two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeParts:
    """What all of one worker share."""

    routes: Routes
    options: Callable[[Route], Options]
    may_serve: Callable[[Route], bool]
    """Whether a request would be sent to a backend."""
    has_live: Callable[[Route], bool]
    """Whether a backend is known to live. A mark that lapsed proves nothing."""
    call: Callable[[Service, Frontend], Awaitable[str]]
    """Calls who starts a frontend. Returns "", or why that did not succeed."""
    looks: Callable[[Backend, str], Awaitable[bool]]
    """Whether a backend answers, asked for that host."""
    counted: Callable[[str], None]
    """Hears how a call ended: `answered` or `failed`."""
    news: MarkNews
    name: str
    """This worker's alone."""
    call_within: float


class Waking:
    """Ends by itself."""

    def __init__(self, parts: WakeParts, route: Route, host: str, target: bytes) -> None:
        """`host` and `target` are those of the first request that waits."""
        self._parts = parts
        self._route = route
        self._host, self._target = host, target
        self.awake = asyncio.Event()
        """A backend lives, or the frontend is not there any more."""
        self.waiting = 0
        self.began = self._left = monotonic()

    @property
    def key(self) -> str:
        """The frontend's."""
        return self._route.frontend.key

    def age(self) -> float:
        """Seconds since it began."""
        return monotonic() - self.began

    def leave(self) -> None:
        """One waits no more."""
        self.waiting -= 1
        self._left = monotonic()

    async def run(self) -> None:
        """Returns when a backend lives, or nobody has waited for a while."""
        logger.info("waking frontend=%s", self.key)
        work = [
            asyncio.create_task(each, name=f"waking {self.key}")
            for each in (self._watch(), self._look(), self._call())
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            if self.awake.is_set():
                logger.info("awake frontend=%s after=%.1fs", self.key, self.age())
            # Others hear of it a moment later, and must not call meanwhile.
            await self._hold(LEASE_SLACK / 2, keep=True)

    async def _watch(self) -> None:
        while not await self._is_over():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AT_ROUTE):
                    await self._parts.routes.changed()

    async def _is_over(self) -> bool:
        routes = self._parts.routes
        try:
            route = routes.known(self._host, self._target)
            if route is None:
                route = await routes.find(self._host, self._target)
        except StoreUnavailable:
            route = self._route
        except ProxyError:  # those who wait find out for themselves
            self.awake.set()
            return True
        if route.frontend.key != self.key:
            self.awake.set()
            return True
        self._route = route
        if self._parts.options(route).wake is None or self._parts.has_live(route):
            self.awake.set()
            return True
        return not self.waiting and monotonic() - self._left > LINGER

    async def _look(self) -> None:
        """Returns when a backend answers that was dead."""
        pause, parts = FIRST_LOOK, self._parts
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)
            frontend, marks = self._route.frontend, parts.routes.marks_of(self._route.frontend)
            dead = [
                backend
                for backend in frontend.backends
                if (mark := marks.get(backend.url)) and not mark.evidence and mark.by != FOREIGN
            ][:MOST_LOOKED_AT]
            answers = await asyncio.gather(*(parts.looks(backend, self._host) for backend in dead))
            lives = [backend for backend, there in zip(dead, answers, strict=True) if there]
            for backend in lives:
                parts.routes.clear_mark(frontend, backend)
                parts.news.alive(frontend, backend)
            if lives and await self._is_over():
                return

    async def _call(self) -> None:
        pause, parts = FIRST_PAUSE, self._parts
        while (service := parts.options(self._route).wake) is not None:
            if not await self._hold(parts.call_within + pause + LEASE_SLACK):
                await asyncio.sleep(ASK_EVERY)
                continue
            why_not = await parts.call(service, self._route.frontend)
            parts.counted("failed" if why_not else "answered")
            if why_not:
                logger.warning(
                    "wake failed frontend=%s url=%s cause=%s", self.key, service.shown, why_not
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        await asyncio.Event().wait()  # the option is gone: the watch sees it, too

    async def _hold(self, seconds: float, *, keep: bool = False) -> bool:
        """Without a store that could say who calls, everybody does."""
        leases, name = self._parts.routes.leases, f"wake:{self.key}"
        if leases is None:
            return True
        try:
            return await leases.hold(name, self._parts.name, seconds)
        except StoreUnavailable:
            return not keep
