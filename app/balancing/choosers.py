"""The balancing policies: each makes a chooser for a set of live backends. Pure.

A chooser is made once for a set and called for every request, so it computes
all it can beforehand. Weights are greater than 0; a backend that must not be
chosen is not in the set.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from itertools import accumulate
from math import exp

from ..frontends.options import HashKey, Options, Policy
from ..routing import Backend
from .rendezvous import Rendezvous

MEMORY = 10.0
"""Seconds after which a measured time counts for about a third (1/e)."""

NOISE = 0.8
"""`least_time` prefers another backend only if it is faster by 20 %. Smaller differences are
noise, and following noise sends all clients to one backend."""


class RequestFacts:
    """What a policy may ask about a request. Nothing is looked up before it asks."""

    __slots__ = ("client", "sent")

    client: str
    """The client's address, empty for a unix socket."""
    sent: Sequence[tuple[bytes, bytes]]
    """Its fields as it sent them; names in lower case."""

    def __init__(self, client: str, sent: Sequence[tuple[bytes, bytes]]) -> None:
        self.client = client
        self.sent = sent

    def header(self, name: bytes) -> bytes | None:
        """The first field of this lower-case name."""
        for field_name, value in self.sent:
            if field_name == name:
                return value
        return None

    def cookie(self, name: bytes) -> bytes | None:
        """The first cookie of this name (RFC 6265 §4.2.1; several fields: RFC 9113 §8.2.3)."""
        for field_name, value in self.sent:
            if field_name == b"cookie":
                for pair in value.split(b";"):
                    key, equals, text = pair.strip(b" \t").partition(b"=")
                    if equals and key == name:
                        return text
        return None


@dataclass(slots=True, eq=False, weakref_slot=True)
class Load:
    """What this worker knows about the work of one backend URL."""

    in_flight: int = 0
    seconds: float = 0.0
    """Moving average of the time to the head of the answer; 0 until one came."""
    measured: float = 0.0
    """When `seconds` last changed, by the balancer's clock."""

    def observe(self, seconds: float, now: float) -> None:
        """Take one more time to the head into the average."""
        if not self.seconds:
            self.seconds = seconds
        else:
            share = 1.0 - exp((self.measured - now) / MEMORY)
            self.seconds += (seconds - self.seconds) * share
        self.measured = now

    def expected(self, now: float) -> float:
        """The average. It fades while nothing is measured: a slow backend is tried again."""
        return self.seconds * exp((self.measured - now) / MEMORY)


@dataclass(slots=True, eq=False)
class Candidate:
    """A backend that may be chosen, with the weight it has now."""

    backend: Backend
    weight: float = 1.0
    load: Load = field(default_factory=Load)


Chooser = Callable[[RequestFacts], Backend]


def make_chooser(
    options: Options,
    candidates: Sequence[Candidate],
    random: Callable[[], float],
    clock: Callable[[], float],
) -> Chooser:
    """The chooser of `options.policy` for these candidates, of which there is at least one."""
    if len(candidates) == 1:
        only = candidates[0].backend
        return lambda facts: only
    match options.policy:
        case Policy.RANDOM:
            return _random(candidates, random)
        case Policy.ROUND_ROBIN:
            return _round_robin(candidates, random)
        case Policy.LEAST_CONN:
            return _least_conn(candidates, random)
        case Policy.LEAST_TIME:
            return _least_time(candidates, random, clock)
        case Policy.HASH:
            return _hash(candidates, options.hash_key)


def _drawer(candidates: Sequence[Candidate], random: Callable[[], float]) -> Callable[[], int]:
    """Draws a position by weight."""
    count = len(candidates)
    if len({candidate.weight for candidate in candidates}) == 1:
        return lambda: int(random() * count)
    steps = list(accumulate(candidate.weight for candidate in candidates))
    total, last = steps[-1], count - 1
    # Rounding may carry a draw past the last step: hence `last`.
    return lambda: bisect(steps, random() * total, 0, last)


def _random(candidates: Sequence[Candidate], random: Callable[[], float]) -> Chooser:
    backends, count = [candidate.backend for candidate in candidates], len(candidates)
    if len({candidate.weight for candidate in candidates}) == 1:
        return lambda facts: backends[int(random() * count)]
    draw = _drawer(candidates, random)
    return lambda facts: backends[draw()]


def _round_robin(candidates: Sequence[Candidate], random: Callable[[], float]) -> Chooser:
    """Each backend is due again after 1/weight; the one that is due first is next.

    The turns start at random, so that workers are out of step with each other,
    and an edit of the list does not always begin with its first backend.
    """
    dues = [(random() / each.weight, i, 1 / each.weight) for i, each in enumerate(candidates)]
    heapify(dues)

    def choose(facts: RequestFacts) -> Backend:
        due, position, interval = dues[0]
        heapreplace(dues, (due + interval, position, interval))
        return candidates[position].backend

    return choose


def _two(
    candidates: Sequence[Candidate], random: Callable[[], float]
) -> Callable[[], tuple[Candidate, Candidate]]:
    """Draws two different ones by weight."""
    draw, others = _drawer(candidates, random), len(candidates) - 1

    def two() -> tuple[Candidate, Candidate]:
        first = draw()
        second = draw()
        if second == first:  # any other one will do: it is taken only if it is better
            second = (first + 1 + int(random() * others)) % (others + 1)
        return candidates[first], candidates[second]

    return two


def _less_busy(first: Candidate, second: Candidate) -> Candidate:
    """By requests in flight per weight; the first where they are equal."""
    if second.load.in_flight * first.weight < first.load.in_flight * second.weight:
        return second
    return first


def _least_conn(candidates: Sequence[Candidate], random: Callable[[], float]) -> Chooser:
    """The less busy of two (Mitzenmacher, "The power of two choices", 2001)."""
    two = _two(candidates, random)
    return lambda facts: _less_busy(*two()).backend


def _least_time(
    candidates: Sequence[Candidate], random: Callable[[], float], clock: Callable[[], float]
) -> Chooser:
    """Of two, the one that is expected to answer sooner, its queue included."""
    two = _two(candidates, random)
    mean = sum(candidate.weight for candidate in candidates) / len(candidates)

    def cost(candidate: Candidate, now: float) -> float:
        queue = candidate.load.in_flight * mean / candidate.weight
        return candidate.load.expected(now) * (1.0 + queue)

    def choose(facts: RequestFacts) -> Backend:
        first, second = two()
        if not (first.load.seconds and second.load.seconds):
            return _less_busy(first, second).backend  # one that never answered is not fast
        now = clock()
        return (second if cost(second, now) < cost(first, now) * NOISE else first).backend

    return choose


def _hash(candidates: Sequence[Candidate], key: HashKey) -> Chooser:
    backends = [candidate.backend for candidate in candidates]
    winner = Rendezvous([b.url for b in backends], [m.weight for m in candidates]).winner
    source, name = key.source, key.name

    def choose(facts: RequestFacts) -> Backend:
        value = None
        if source == "header":
            value = facts.header(name)
        elif source == "cookie":
            value = facts.cookie(name)
        return backends[winner(facts.client.encode() if value is None else value)]

    return choose
