"""When frontends were last used: what workers note of it, and what commands read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

GAP = 600.0
"""Seconds without a note after which nobody knows what was used meanwhile: noting begins anew."""
SINCE, NOTED = " since", " noted"
"""What stands beside the keys of frontends, which have no space: when noting began, and when a
worker noted last."""


class UseRecords(Protocol):
    """Every method raises StoreUnavailable, and nothing else."""

    async def note(self, keys: Collection[str]) -> None:
        """The frontends of these keys were used a moment ago; nobody noted that the others were.

        It is called again and again, by every worker, also without keys.
        """

    async def prune(self) -> None:
        """Forget frontends that are gone."""


@dataclass(frozen=True, slots=True)
class LastUses:
    """What was noted. Times are Unix seconds."""

    since: float = 0.0
    """When noting began."""
    noted: float = 0.0
    """When a worker noted last, 0 if none ever did."""
    by_key: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, float]) -> LastUses:
        """What a store has, with its entries SINCE and NOTED."""
        by_key = {key: at for key, at in found.items() if key not in {SINCE, NOTED}}
        return cls(found.get(SINCE, 0.0), found.get(NOTED, 0.0), by_key)

    def why_unknown(self, idle: float, now: float) -> str:
        """Why nobody can tell what was idle for so many seconds; empty if it is known."""
        if now - self.noted > GAP:
            return "no proxy notes when frontends are used"
        if now - self.since < idle:
            return f"uses are noted for {now - self.since:.0f} s only"
        return ""


def noted(before: Mapping[str, float], keys: Collection[str], now: float) -> dict[str, float]:
    """What stands there after a note at `now`.

    >>> noted({}, ["a.test"], 1000.0)
    {' since': 1000.0, ' noted': 1000.0, 'a.test': 1000.0}
    """
    since = before.get(SINCE, now) if now - before.get(NOTED, 0.0) <= GAP else now
    return {**before, SINCE: since, NOTED: now, **dict.fromkeys(keys, now)}
