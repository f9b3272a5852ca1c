"""Counts the requests of clients: in this worker, and for all workers if the store can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...frontends.rates import Rate, one_client, take
from ...stores.base import SharedRates

MAX_CLIENTS = 20_000
"""Clients of all frontends that a worker counts; it forgets the first one first."""


class RateLimits:
    """One worker's counts. A request that these alone refuse is not counted in the store."""

    def __init__(self, clock: Callable[[], float], shared: SharedRates | None = None) -> None:
        """`clock`: seconds, monotonic."""
        self._clock = clock
        self._shared = shared
        self._due: dict[tuple[str, str], float] = {}

    def take(self, frontend: str, address: str, rate: Rate) -> float | Awaitable[float]:
        """Seconds by which this request is too early; 0.0 lets it pass."""
        client = frontend, one_client(address)
        early = self._take(client, rate)
        if early or self._shared is None or self._shared.away:
            return early
        known = self._shared.known(":".join(client), rate)
        if known is None:
            return self._ask_all(self._shared, client, rate)
        if known:  # and a refused request does not count
            self._due[client] -= rate.interval
        return known

    def _take(self, client: tuple[str, str], rate: Rate) -> float:
        now = self._clock()
        due, early = take(self._due.get(client, 0.0), now, rate)
        self._due[client] = due
        if not early and len(self._due) > MAX_CLIENTS:
            self._forget(now)
        return early

    async def _ask_all(self, shared: SharedRates, client: tuple[str, str], rate: Rate) -> float:
        early = await shared.take(":".join(client), rate)
        if not early:
            return 0.0
        # Until then the worker refuses by itself: a flood does not reach the store.
        self._due[client] = self._clock() + early + rate.tolerance
        return early

    def _forget(self, now: float) -> None:
        self._due = {client: due for client, due in self._due.items() if due > now}
        for client in list(self._due)[: max(0, len(self._due) - MAX_CLIENTS // 2)]:
            del self._due[client]
