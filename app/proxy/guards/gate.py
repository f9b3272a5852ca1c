"""The order in which a request is examined before a backend sees it; the rules are elsewhere.

A frontend without such options costs one look at an attribute, in `Gateway.admit`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...errors import AccessUnreadable, Forbidden, Overloaded, TooManyRequests, Unauthorized
from ...fields.headers import RawHeaders, field
from ...frontends.protection import Protection
from ...routing import Route
from ...upstream.client import UpstreamClient
from ..request import Request
from .basic_auth import BasicAuth
from .forward_auth import ask
from .overload import Overload
from .rate_limits import RateLimits


class Places:
    """How many requests of one frontend this worker is busy with."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def leave(self) -> None:
        self.taken -= 1


class Gate:
    """What the guards of one worker remember."""

    def __init__(
        self,
        true_client: Callable[[RawHeaders, str], str],
        client: UpstreamClient,
        rates: RateLimits,
        overload: Overload,
    ) -> None:
        """`true_client` tells a client's address from fields and peer."""
        self._true_client = true_client
        self._client = client
        self._rates = rates
        self.overload = overload
        self._basic = BasicAuth()
        self._places: dict[str, Places] = {}

    def examine(
        self, request: Request, route: Route, protection: Protection
    ) -> Awaitable[None] | None:
        """Let `request` pass, or raise the ProxyError that answers it.

        What is returned has to be awaited, and may raise it then. None: it may pass now.
        """
        if protection.unreadable:
            raise AccessUnreadable(f"option {protection.unreadable}")
        key = route.frontend.key
        address = self._true_client(request.headers, request.client)
        if not protection.lets_in(address):
            raise Forbidden
        if protection.max_in_flight:
            self._take_place(request, key, protection.max_in_flight)
        if protection.rate is not None:
            early = self._rates.take(key, address, protection.rate)
            if not isinstance(early, float):
                return self._once_counted(early, request, key, protection)
            if early:
                raise TooManyRequests(early)
        return self._authenticate(request, key, protection)

    async def _once_counted(
        self, counting: Awaitable[float], request: Request, key: str, protection: Protection
    ) -> None:
        if early := await counting:
            raise TooManyRequests(early)
        if (waiting := self._authenticate(request, key, protection)) is not None:
            await waiting

    def _authenticate(
        self, request: Request, key: str, protection: Protection
    ) -> Awaitable[None] | None:
        if protection.users:
            known = self._basic.known(protection.users, field(request.headers, b"authorization"))
            if known is False:
                raise Unauthorized(key)
            if known is None:
                return self._once_known(request, key, protection)
        if protection.forward_auth is not None:
            return ask(self._client, protection.forward_auth, protection, request)
        return None

    async def _once_known(self, request: Request, key: str, protection: Protection) -> None:
        authorization = field(request.headers, b"authorization")
        if not await self._basic.verify(key, protection.users, authorization):
            raise Unauthorized(key)
        if protection.forward_auth is not None:
            await ask(self._client, protection.forward_auth, protection, request)

    def _take_place(self, request: Request, key: str, most: int) -> None:
        places = self._places.get(key)
        if places is None:
            self._forget_empty()
            places = self._places[key] = Places()
        if places.taken >= most:
            raise Overloaded("as many requests as maxInFlight allows are under way")
        places.taken += 1
        request.place = places

    def _forget_empty(self) -> None:
        """In amortised constant time: as many were added as are looked at."""
        if len(self._places) & (len(self._places) - 1) == 0 and len(self._places) >= 64:
            self._places = {key: p for key, p in self._places.items() if p.taken}

    def close(self) -> None:
        """Let the threads end."""
        self._basic.close()
