"""A frontend as one worker sees it: its history, and a plan for one snapshot of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from ..frontends.options import Options
from ..routing import Backend, Frontend, Mark, Route
from .choosers import Candidate, Chooser, Load, make_chooser
from .rendezvous import Rendezvous
from .sticky import tokens_of

RAMP_STEPS = 20
"""Steps in which `slowStart` raises a weight."""


@dataclass(slots=True, eq=False)
class Rotation:
    """What outlives a change of a frontend's list or marks."""

    frontend: Frontend
    options: Options
    loads: dict[str, Load]
    trials: set[str] = field(default_factory=set)
    """URLs that a request is proving now."""
    panicked: dict[str, float] = field(default_factory=dict)
    """When a URL was last chosen although it was dead."""
    marked: frozenset[str] = frozenset()
    came_back: dict[str, float] = field(default_factory=dict)
    """When the marks of a URL were found cleared."""

    @property
    def has_history(self) -> bool:
        """Whether a new one would know less."""
        return bool(self.trials or self.panicked or self.marked or self.came_back)

    def note_returns(self, route: Route, now: float) -> None:
        """Begin the ramp of the backends that are no longer marked."""
        marked = frozenset(route.marks)
        for url in self.marked - marked:
            self.came_back[url] = now
            self.panicked.pop(url, None)
        self.marked = marked


@dataclass(frozen=True, slots=True)
class BalancerInputs:
    """What the balancer of one worker is given from outside."""

    random: Callable[[], float]
    clock: Callable[[], float]
    secret: bytes
    stagger: float
    """Seconds after a mark has lapsed at which this worker holds its trial."""


class Plan:
    """One snapshot of a frontend, with all that can be computed before a request comes."""

    __slots__ = (
        "_fallbacks", "choose", "dead", "drained", "expires", "lapsed", "options", "rotation",
        "simple", "tiers", "tokens", "usable",
    )  # fmt: skip

    def __init__(self, route: Route, rotation: Rotation, inputs: BalancerInputs) -> None:
        now = inputs.clock()
        self.rotation = rotation
        self.options = rotation.options
        self.expires = inf
        """When the next mark lapses or the next ramp goes up."""
        self.lapsed: list[Backend] = []
        """Their marks ran out, and no request has succeeded there since."""
        self.dead: list[tuple[Mark, Backend]] = []
        self.drained: list[Backend] = []
        """Live, but not for new clients."""
        rotation.note_returns(route, now)
        self.tiers = self._sort_out(route, inputs, now)
        """The live ones: primary, then backup."""
        tier = self.tiers[0] or self.tiers[1]
        self.choose: Chooser | None = None
        if tier:
            self.choose = make_chooser(self.options, tier, inputs.random, inputs.clock)
        self.tokens: dict[bytes, Backend] = {}
        self.usable: set[str] = set()
        """URLs that a sticky client may go to at once."""
        if self.options.sticky is not None:
            self.tokens = tokens_of(inputs.secret, route.frontend.key, route.frontend.backends)
            self.usable = {candidate.backend.url for tier in self.tiers for candidate in tier}
            self.usable.update(backend.url for backend in self.drained)
        self._fallbacks: Rendezvous | None = None
        self.simple = self.choose is not None and not self.lapsed and not self.tokens
        """`choose` alone decides."""

    def _sort_out(
        self, route: Route, inputs: BalancerInputs, now: float
    ) -> tuple[Sequence[Candidate], Sequence[Candidate]]:
        options, loads = self.options, self.rotation.loads
        primary: list[Candidate] = []
        backup: list[Candidate] = []
        for backend in route.frontend.backends:
            url = backend.url
            mark = route.marks.get(url)
            weight = options.weights.get(url, 1.0)
            if mark is not None and (until := mark.until + inputs.stagger) > now:
                self.dead.append((mark, backend))
                self.expires = min(self.expires, until)
            elif url in options.drained or not weight:
                self.drained.append(backend)
            elif mark is not None:
                self.lapsed.append(backend)
            else:
                tier = backup if url in options.backups else primary
                tier.append(Candidate(backend, weight * self._ramp(url, now), loads[url]))
        return primary, backup

    def _ramp(self, url: str, now: float) -> float:
        """The share of its weight that a backend has between its return and `slowStart`."""
        seconds, came_back = self.options.slow_start, self.rotation.came_back
        if url not in came_back:
            return 1.0
        elapsed = now - came_back[url]
        if elapsed >= seconds:
            del came_back[url]
            return 1.0
        self.expires = min(self.expires, now + seconds / RAMP_STEPS)
        return max(elapsed / seconds, 1 / RAMP_STEPS)

    def fallback(self, token: bytes) -> Backend | None:
        """The backend for the sticky clients of a dead one: the same for all, every time."""
        tier = self.tiers[0] or self.tiers[1]
        if not tier:
            return None
        if self._fallbacks is None:
            self._fallbacks = Rendezvous([m.backend.url for m in tier], [m.weight for m in tier])
        return tier[self._fallbacks.winner(token)].backend
