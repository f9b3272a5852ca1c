"""What the tests of the balancer share: a clock of their own, and lists to pick from."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from app.balancing.balancer import Balancer, RequestFacts
from app.frontends.options import Options, Policy
from app.routing import Frontend, Mark, Route, parse_frontend

A, B, C = "http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"

NOW = 1_000_000.0

NOBODY = RequestFacts("192.0.2.1", [])

every_policy = pytest.mark.parametrize("policy", Policy)


class Clock:
    """A clock that moves when the test says so."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def balancer(clock: Clock | None = None, seed: int = 1, **options: object) -> Balancer:
    defaults = Options(**options)  # type: ignore[arg-type]
    return Balancer(defaults, random=Random(seed).random, clock=clock or Clock(), secret=b"s")


def frontend(*urls: str, **options: str) -> Frontend:
    return parse_frontend("example.com", ["id", *urls], options)


def mark(until: float, since: float = NOW - 60) -> Mark:
    return Mark(until, since, "test", "test")


def route(*urls: str, marks: dict[str, Mark] | None = None, **options: str) -> Route:
    return Route(frontend(*urls, **options), marks or {})


def client(number: int, *headers: tuple[bytes, bytes]) -> RequestFacts:
    return RequestFacts(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", [*headers])


def one_pick(some: Balancer, where: Route, facts: RequestFacts = NOBODY, *tried: str) -> str:
    """The URL of a pick whose request is over at once."""
    backend = some.pick(where, facts, tried)
    some.started(where, backend)
    some.finished(where, backend, seconds_to_head=0.01)
    return backend.url


def shares(some: Balancer, where: Route, picks: int = 100_000) -> dict[str, float]:
    counts = Counter(one_pick(some, where, client(i)) for i in range(picks))
    return {url: count / picks for url, count in counts.items()}
