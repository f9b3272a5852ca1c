"""The balancing policies: each makes a chooser for a set of live backends. Pure.

A chooser is made once for a set and called for every request, so whatever can
be computed beforehand is. Weights are greater than 0; what must not be chosen
is not in the set.
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
"""`least_time` prefers another backend only if it is faster by 20 %: less is noise,
and following noise sends everybody to the same one."""


class RequestFacts:
    """What a policy may ask about a request; looked up only when one asks."""

    __slots__ = ("_headers", "client")

    def __init__(self, client: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """`client` is the address of who asks, `headers` have lower-case names (ASGI)."""
        self.client = client
        self._headers = headers

    def header(self, name: bytes) -> bytes | None:
        """The first field of this lower-case name."""
        for field_name, value in self._headers:
            if field_name == name:
                return value
        return None

    def cookie(self, name: bytes) -> bytes | None:
        """The first cookie of this name (RFC 6265 §4.2.1; several fields: RFC 9113 §8.2.3)."""
        for field_name, value in self._headers:
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
        """The average, fading while nothing is measured: a slow one is asked again."""
        return self.seconds * exp((self.measured - now) / MEMORY)


@dataclass(slots=True, eq=False)
class Member:
    """A backend as a candidate, with the weight it has now."""

    backend: Backend
    weight: float = 1.0
    load: Load = field(default_factory=Load)


Chooser = Callable[[RequestFacts], Backend]


def make_chooser(
    options: Options,
    members: Sequence[Member],
    random: Callable[[], float],
    clock: Callable[[], float],
) -> Chooser:
    """The chooser of `options.policy` for these members, of which there is at least one."""
    if len(members) == 1:
        only = members[0].backend
        return lambda facts: only
    match options.policy:
        case Policy.RANDOM:
            return _random(members, random)
        case Policy.ROUND_ROBIN:
            return _round_robin(members, random)
        case Policy.LEAST_CONN:
            return _least_conn(members, random)
        case Policy.LEAST_TIME:
            return _least_time(members, random, clock)
        case Policy.HASH:
            return _hash(members, options.hash_key)


def _drawer(members: Sequence[Member], random: Callable[[], float]) -> Callable[[], int]:
    """Draws a position by weight."""
    count = len(members)
    if len({member.weight for member in members}) == 1:
        return lambda: int(random() * count)
    steps = list(accumulate(member.weight for member in members))
    total, last = steps[-1], count - 1
    # Rounding may carry a draw past the last step: hence `last`.
    return lambda: bisect(steps, random() * total, 0, last)


def _random(members: Sequence[Member], random: Callable[[], float]) -> Chooser:
    backends, count = [member.backend for member in members], len(members)
    if len({member.weight for member in members}) == 1:
        return lambda facts: backends[int(random() * count)]
    draw = _drawer(members, random)
    return lambda facts: backends[draw()]


def _round_robin(members: Sequence[Member], random: Callable[[], float]) -> Chooser:
    """Each is due again after 1/weight; who is due first is next.

    The turns start at random, so that workers do not march in step, and an
    edit does not begin with the first one each time.
    """
    dues = [(random() / member.weight, i, 1 / member.weight) for i, member in enumerate(members)]
    heapify(dues)

    def choose(facts: RequestFacts) -> Backend:
        due, position, interval = dues[0]
        heapreplace(dues, (due + interval, position, interval))
        return members[position].backend

    return choose


def _two(
    members: Sequence[Member], random: Callable[[], float]
) -> Callable[[], tuple[Member, Member]]:
    """Draws two different ones by weight."""
    draw, others = _drawer(members, random), len(members) - 1

    def two() -> tuple[Member, Member]:
        first = draw()
        second = draw()
        if second == first:  # any other one will do: it is only taken if it is the better
            second = (first + 1 + int(random() * others)) % (others + 1)
        return members[first], members[second]

    return two


def _less_busy(first: Member, second: Member) -> Member:
    """By requests in flight per weight; the first where they are equal."""
    if second.load.in_flight * first.weight < first.load.in_flight * second.weight:
        return second
    return first


def _least_conn(members: Sequence[Member], random: Callable[[], float]) -> Chooser:
    """The less busy of two (Mitzenmacher, "The power of two choices", 2001)."""
    two = _two(members, random)
    return lambda facts: _less_busy(*two()).backend


def _least_time(
    members: Sequence[Member], random: Callable[[], float], clock: Callable[[], float]
) -> Chooser:
    """Of two, the one that is expected to answer sooner, its queue included."""
    two = _two(members, random)
    mean = sum(member.weight for member in members) / len(members)

    def cost(member: Member, now: float) -> float:
        queue = member.load.in_flight * mean / member.weight
        return member.load.expected(now) * (1.0 + queue)

    def choose(facts: RequestFacts) -> Backend:
        first, second = two()
        if not (first.load.seconds and second.load.seconds):
            return _less_busy(first, second).backend  # who never answered is not fast
        now = clock()
        return (second if cost(second, now) < cost(first, now) * NOISE else first).backend

    return choose


def _hash(members: Sequence[Member], key: HashKey) -> Chooser:
    backends = [member.backend for member in members]
    winner = Rendezvous([b.url for b in backends], [m.weight for m in members]).winner
    source, name = key.source, key.name

    def choose(facts: RequestFacts) -> Backend:
        value = None
        if source == "header":
            value = facts.header(name)
        elif source == "cookie":
            value = facts.cookie(name)
        return backends[winner(facts.client.encode() if value is None else value)]

    return choose
