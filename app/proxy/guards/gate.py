"""The order of a frontend's access rules; the rules themselves are elsewhere.

A frontend without such options costs one look at an attribute, in `Decisions`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...errors import (
    AccessUnreadable,
    Forbidden,
    Overloaded,
    TooManyRequests,
    Unauthorized,
    UnderMaintenance,
)
from ...fields.headers import RawHeaders, only
from ...frontends.protection import Protection
from ...frontends.rates import one_client
from ...routing import Route
from ...upstream.client import UpstreamClient
from ..request import Request
from .basic_auth import BasicAuth
from .forward_auth import ask
from .rate_limits import RateLimits


class InFlight:
    """How many requests of one frontend this worker serves."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def leave(self) -> None:
        self.taken -= 1


def check_readable(protection: Protection) -> None:
    """Raise AccessUnreadable if one of the options cannot be read."""
    if protection.unreadable:
        raise AccessUnreadable(f"option {protection.unreadable}", protection.unreadable_option)


def check_address(protection: Protection, address: str) -> None:
    """Raise Forbidden for a client at `address` if the networks exclude it."""
    if not protection.lets_in(address):
        raise Forbidden


def check_maintenance(protection: Protection, address: str) -> None:
    """Raise UnderMaintenance for a client at `address` if the site is shut to it."""
    maintenance = protection.maintenance
    if maintenance is not None and not maintenance.allow.match(address):
        raise UnderMaintenance(maintenance.message, maintenance.retry_after)


class Gate:
    """The guards of one worker, and what they remember."""

    def __init__(
        self,
        true_client: Callable[[RawHeaders, str], str],
        client: UpstreamClient,
        rates: RateLimits,
    ) -> None:
        """`true_client` tells a client's address from fields and peer."""
        self._true_client = true_client
        self._client = client
        self._rates = rates
        self._basic = BasicAuth()
        self._in_flight: dict[str, InFlight] = {}

    def examine(
        self, request: Request, route: Route, protection: Protection
    ) -> Awaitable[None] | None:
        """Let `request` pass, or raise the ProxyError that answers it.

        None: it may pass. Else await what is returned, which may raise, too.
        """
        key = route.frontend.key
        address = self._true_client(request.headers, request.client)
        check_readable(protection)
        check_maintenance(protection, address)
        check_address(protection, address)
        if protection.max_in_flight:
            self._take_slot(request, key, protection.max_in_flight)
        if protection.rate is not None:
            early = self._rates.take(key, address, protection.rate)
            if not isinstance(early, float):
                return self._once_counted(early, request, key, address, protection)
            if early:
                raise TooManyRequests(early)
        return self._authenticate(request, key, address, protection)

    async def _once_counted(
        self,
        counting: Awaitable[float],
        request: Request,
        key: str,
        address: str,
        protection: Protection,
    ) -> None:
        if early := await counting:
            raise TooManyRequests(early)
        if (waiting := self._authenticate(request, key, address, protection)) is not None:
            await waiting

    def _authenticate(
        self, request: Request, key: str, address: str, protection: Protection
    ) -> Awaitable[None] | None:
        if protection.users:
            known = self._basic.known(protection.users, only(request.headers, b"authorization"))
            if known is False:
                raise Unauthorized(key)
            if known is None:
                return self._once_known(request, key, address, protection)
        if protection.forward_auth is not None:
            return ask(self._client, protection.forward_auth, protection, request)
        return None

    async def _once_known(
        self, request: Request, key: str, address: str, protection: Protection
    ) -> None:
        authorization = only(request.headers, b"authorization")
        client = one_client(address)
        if not await self._basic.verify(key, client, protection.users, authorization):
            raise Unauthorized(key)
        if protection.forward_auth is not None:
            await ask(self._client, protection.forward_auth, protection, request)

    def _take_slot(self, request: Request, key: str, most: int) -> None:
        slots = self._in_flight.get(key)
        if slots is None:
            self._forget_empty()
            slots = self._in_flight[key] = InFlight()
        if slots.taken >= most:
            raise Overloaded("as many requests as maxInFlight allows are in flight")
        slots.taken += 1
        request.slot = slots

    def _forget_empty(self) -> None:
        """In amortised constant time: it looks at as many as were added."""
        known = len(self._in_flight)
        if known >= 64 and known & (known - 1) == 0:
            self._in_flight = {key: slots for key, slots in self._in_flight.items() if slots.taken}

    def close(self) -> None:
        """Let the threads end."""
        self._basic.close()
