"""Looks at backends that are the only ones of their frontends and refused a request.

They are never marked, so no mark says when they die and come back. One worker of all asks such
a backend until it answers. What requests do costs nothing here: their answers are not looked at.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from ..errors import ProxyError, StoreUnavailable
from ..health import Verdict, cause_of, outcome_of, verdict
from ..routing import Backend, Frontend
from ..stores.routes import Routes
from ..system.background import Background
from ..upstream.client import UpstreamClient
from ..upstream.own_requests import host_for, status_of
from .alert_events import AGENT

LOOK_EVERY = 5.0
"""Seconds from the failure of a request to the first look, and between looks: one that restarts
is back by then."""
LOOK_WITHIN = 20.0
"""Seconds in which a look ends."""
LEASE_LASTS = 30.0
"""Seconds: more than two looks are apart."""
MOST_LOOKED_AT = 200
"""Backends that one worker looks at. It does not take up more; another worker may."""


class OnlyBackends:
    """Those that one worker looks at."""

    def __init__(
        self,
        routes: Routes,
        client: UpstreamClient,
        background: Background,
        *,
        tell: Callable[[Frontend, Backend, str | None], None],
        down: MutableMapping[tuple[str, str], str],
        name: str,
    ) -> None:
        """`tell` hears why one is dead, or None when it lives again; `down` has those that were
        told, and why. `name` is this process's, which may run several proxies."""
        self._routes = routes
        self._client = client
        self._tell = tell
        self._down = down
        self._background = background
        self._name = f"{name}:{secrets.token_hex(4)}"
        self._looked_at: set[tuple[str, str]] = set()

    def failed(self, frontend: Frontend, backend: Backend) -> None:
        """A request found it dead: look at it soon."""
        key = frontend.key, backend.url
        if key not in self._looked_at and len(self._looked_at) < MOST_LOOKED_AT:
            self._looked_at.add(key)
            self._background.spawn(self._look(key), f"alerts: look at {frontend.key}")

    async def _look(self, key: tuple[str, str]) -> None:
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                if not (await self._is_ours(key) or key in self._down):
                    return  # another worker looks
                with suppress(StoreUnavailable):
                    if await self._is_over(key):
                        return
        finally:
            self._down.pop(key, None)
            self._looked_at.discard(key)

    async def _is_over(self, key: tuple[str, str]) -> bool:
        """Ask it, and tell what is new. Raises StoreUnavailable."""
        found = await self._routes.lookup(key[0])
        if found is None or found.frontend.key != key[0]:
            return True
        frontend = found.frontend
        backend = next((each for each in frontend.backends if each.url == key[1]), None)
        if backend is None or frontend.settings.values.get("wake") is not None:
            return True
        says, cause = await self._asked(frontend, backend)
        told = key in self._down
        if says is Verdict.DEAD:
            self._down[key] = cause
            if not told:
                self._tell(frontend, backend, cause)
            return False
        if says is Verdict.ALIVE and told:
            self._down.pop(key)
            self._tell(frontend, backend, None)
            return True
        return not told

    async def _asked(self, frontend: Frontend, backend: Backend) -> tuple[Verdict, str]:
        """What a request says about it: any answer shows that it is there."""
        fields = [(b"host", host_for(frontend, backend)), AGENT]
        try:
            async with asyncio.timeout(LOOK_WITHIN):
                await status_of(self._client, backend, b"HEAD", b"/", fields=fields)
        except TimeoutError:
            return Verdict.NOTHING, ""
        except ProxyError as error:
            outcome = outcome_of(error)
            return verdict(outcome), cause_of(error, outcome)
        return Verdict.ALIVE, ""

    async def _is_ours(self, key: tuple[str, str]) -> bool:
        """Without a store that could say who looks, everybody does."""
        leases = self._routes.leases
        if leases is not None:
            with suppress(StoreUnavailable):
                return await leases.hold(f"look:{key[0]}:{key[1]}", self._name, LEASE_LASTS)
        return True
