"""Which requests an overloaded worker refuses. Pure.

An event loop that is late at one look has done one long thing. A loop that is late at
every look gets more requests than it can serve: if it did not answer some with 503 at
once, all others would wait longer and longer.

The busiest frontend's requests are refused first. The capacity is shared out as water
fills vessels: a frontend that asks for less than an equal share gets all it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

LATE_LOOKS = 4
"""This many looks in a row must find the loop late."""
REFUSE_MORE, REFUSE_AT_MOST = 0.1, 0.9
"""Each further look that finds it no less late refuses that share more of the requests, up to the
second one."""
EASE, LEAST = 0.8, 0.02
"""Each look that finds it in time multiplies the share by EASE; below LEAST the overload ends."""


class Shedding:
    """What one worker refuses. `limit`: seconds that its loop may be late; 0 sets no limit."""

    __slots__ = (
        "_arrived",
        "_credit",
        "_keep",
        "_last",
        "_late",
        "active",
        "limit",
        "share",
        "turned_away",
    )

    def __init__(self, limit: float) -> None:
        self.limit = limit or inf
        self.active = False
        """Whether to ask `admits`."""
        self.share = 0.0
        """The part of the requests that is refused."""
        self.turned_away = 0
        self._late = 0
        self._last = 0.0
        self._arrived: dict[str, int] = {}
        self._keep: dict[str, float] = {}
        self._credit: dict[str, float] = {}

    def look(self, late: float) -> None:
        """The loop was `late` seconds behind at this look."""
        self._late = self._late + 1 if late > self.limit else 0
        if self._late >= LATE_LOOKS:
            self.active = True
            if late >= self._last:
                self.share = min(REFUSE_AT_MOST, self.share + REFUSE_MORE)
        elif not self._late and self.active:
            self.share *= EASE
            if self.share < LEAST:
                self.active, self.share = False, 0.0
        self._last = late
        if self.active:
            self._share_out()
        elif self._arrived:
            self._keep, self._credit, self._arrived = {}, {}, {}

    def _share_out(self) -> None:
        arrived, self._arrived = self._arrived, {}
        if not arrived:
            return  # the last shares hold
        level = fill(arrived.values(), (1 - self.share) * sum(arrived.values()))
        self._keep = {key: level / count for key, count in arrived.items() if count > level}
        self._credit = {key: self._credit.get(key, 0.0) for key in self._keep}

    def admits(self, frontend: str) -> bool:
        """Whether to serve a request of this frontend. Ask once for each request while `active`."""
        self._arrived[frontend] = self._arrived.get(frontend, 0) + 1
        keep = self._keep.get(frontend)
        if keep is None:
            return True
        credit = self._credit[frontend] + keep
        served = credit >= 1
        self._credit[frontend] = credit - served
        self.turned_away += not served
        return served


def fill(wanted: Iterable[float], capacity: float) -> float:
    """The level up to which each gets what it wants, so that they get `capacity` in all.

    >>> fill([1, 2, 9], 6), fill([1, 2], 6), fill([4], 1)
    (3.0, inf, 1.0)
    """
    each = sorted(wanted)
    for number, want in enumerate(each):
        level = capacity / (len(each) - number)
        if want > level:
            return level
        capacity -= want
    return inf
