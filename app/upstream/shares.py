"""Who loses a connection to a backend while others wait for one. Pure.

Connections are taken, in this order, from

1. idle clients: for `grace` seconds they have taken nothing of their answers, and sent nothing
   of their requests, although something is awaited of them. The client that holds most of the
   connections is the first to lose one;
2. known offenders: clients that have lost a connection within REMEMBERED seconds, because they were
   idle or held too many. Those who were idle may keep half of the connections, all together;
   those who held too many, half of them each;
3. clients that hold more than half of the connections, once another has waited for a while.

Offenders, and clients that hold more than half, also wait behind all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

REMEMBERED = 60.0
"""Seconds for which a client is an offender."""


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """A connection in use."""

    client: str | None
    """None: nobody is known, or many share the address. Such a client is no offender."""
    started: float
    """When its request began."""
    silent: float | None
    """Seconds for which the client has done nothing of what is awaited of it; None: nothing is."""


H = TypeVar("H", bound=Holding)


@dataclass(frozen=True, slots=True)
class Losers(Generic[H]):
    """Those who may lose a connection, the first to lose it at the left."""

    idle: list[H]
    surplus: list[H]
    """Of known offenders."""
    disputed: list[H]
    """Of those who hold more than half."""


class Shares:
    """The shares of clients in the connections to one backend. Times are seconds."""

    def __init__(self, connections: int, grace: float) -> None:
        self._half = (connections + 1) // 2
        self._grace = grace
        self._idlers: dict[str, float] = {}  # client -> until when it is an offender
        self._greedy: dict[str, float] = {}
        self.behind: frozenset[str] = frozenset()
        """The clients that wait behind the others."""

    @property
    def offenders(self) -> bool:
        """Whether there are any."""
        return bool(self._idlers or self._greedy)

    def judge(self, holdings: Sequence[H], now: float) -> Losers[H]:
        """Who may lose a connection now, and who waits behind the others."""
        _forget(self._idlers, now)
        _forget(self._greedy, now)
        counts = Counter(holding.client for holding in holdings)
        idle = [h for h in holdings if h.silent is not None and h.silent >= self._grace]
        idle.sort(key=lambda h: (-counts[h.client] if h.client else 0, -(h.silent or 0.0)))
        large = {client for client, count in counts.items() if client and count > self._half}
        self.behind = frozenset((*self._idlers, *self._greedy, *large))
        left = set(holdings).difference(idle)
        surplus = self._beyond_half([h for h in left if h.client in self._idlers])
        disputed: list[H] = []
        for client in large - self._idlers.keys():
            rest = self._beyond_half([h for h in left if h.client == client])
            (surplus if client in self._greedy else disputed).extend(rest)
        return Losers(idle, surplus, disputed)

    def remember(self, loser: Holding, until: float) -> None:
        """It has lost a connection: its client is an offender for a while."""
        client = loser.client
        if client is not None:
            idle = client in self._idlers or (loser.silent or 0.0) >= self._grace
            (self._idlers if idle else self._greedy)[client] = until
            self.behind |= {client}

    def _beyond_half(self, holdings: list[H]) -> list[H]:
        """Those whose clients are behind come first, then the requests that began last."""
        holdings.sort(key=lambda h: (h.silent is None, -(h.silent or 0.0), -h.started))
        return holdings[: max(0, len(holdings) - self._half)]


def _forget(offenders: dict[str, float], now: float) -> None:
    for client in [client for client, until in offenders.items() if until <= now]:
        del offenders[client]
