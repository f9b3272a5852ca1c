"""Which requests a worker turns away that has more to do than it can. Pure.

An event loop that is late at one look has done something long, once; one that is
late at every look has more coming in than going out, and answering some at once
with 503 is all that keeps the others from waiting ever longer.

Turned away are first those of the frontend that has most of them: what is left
is shared out as water fills vessels, so whoever asks for less than an equal
share gets all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

LOOKS = 4
"""So many looks in a row must find the loop late."""
STEP, MOST = 0.1, 0.9
"""Each further one that finds it no less late turns STEP more of the requests away, up to MOST."""
EASE, LEAST = 0.8, 0.02
"""Each look that finds it in time takes the share down by EASE; below LEAST it is over."""


class Shedding:
    """What one worker turns away. `limit`: seconds that its loop may be late; 0: any time."""

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
        """Whether `admits` has to be asked."""
        self.share = 0.0
        """Of the requests, that which is turned away."""
        self.turned_away = 0
        self._late = 0
        self._last = 0.0
        self._arrived: dict[str, int] = {}
        self._keep: dict[str, float] = {}
        self._credit: dict[str, float] = {}

    def look(self, late: float) -> None:
        """The loop was `late` seconds behind at this look."""
        self._late = self._late + 1 if late > self.limit else 0
        if self._late >= LOOKS:
            self.active = True
            if late >= self._last:
                self.share = min(MOST, self.share + STEP)
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
            return  # the last word holds
        level = fill(arrived.values(), (1 - self.share) * sum(arrived.values()))
        self._keep = {key: level / count for key, count in arrived.items() if count > level}
        self._credit = {key: self._credit.get(key, 0.0) for key in self._keep}

    def admits(self, frontend: str) -> bool:
        """Whether a request of this frontend is served; asked once for each while `active`."""
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
    """The level up to which each gets what it wants, so that all together get `capacity`.

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
