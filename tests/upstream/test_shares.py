"""Who loses a connection while others wait: the rules, without a connection."""

from __future__ import annotations

from collections.abc import Iterable

from app.upstream.shares import REMEMBERED, Holding, Losers, Shares

GRACE = 2.0


def held(client: str | None, count: int, silent: float | None = None) -> list[Holding]:
    """So many connections of one client, each request begun later than the one before."""
    return [Holding(client, float(number), silent) for number in range(count)]


def clients(holdings: Iterable[Holding]) -> list[str | None]:
    return [holding.client for holding in holdings]


def judged(shares: Shares, *groups: list[Holding], now: float = 100.0) -> Losers[Holding]:
    return shares.judge([holding for group in groups for holding in group], now)


def test_a_client_that_does_nothing_may_lose_its_connection_after_the_grace():
    losers = judged(
        Shares(10, GRACE), held("slow", 1, 2.0), held("slower", 1, 1.9), held("busy", 1)
    )
    assert clients(losers.idle) == ["slow"]
    assert not losers.surplus
    assert not losers.disputed


def test_the_address_that_holds_most_is_the_first_to_lose_one():
    losers = judged(
        Shares(10, GRACE), held("one", 1, 9.0), held("many", 3, 3.0), held(None, 5, 8.0)
    )
    assert clients(losers.idle) == ["many"] * 3 + ["one"] + [None] * 5


def test_more_than_half_is_disputed_and_waits_behind():
    shares = Shares(10, GRACE)
    losers = judged(shares, held("many", 7), held("few", 3))
    assert clients(losers.disputed) == ["many", "many"]
    assert shares.behind == {"many"}
    assert not shares.offenders
    judged(shares, held("many", 5), held("few", 5))
    assert shares.behind == set()


def test_the_request_that_began_last_goes_first_unless_another_client_is_behind():
    shares = Shares(2, GRACE)
    early, late = held("many", 2)
    assert judged(shares, [early, late]).disputed == [late]
    behind = Holding("many", 0.0, 0.5)
    assert judged(shares, [behind, late]).disputed == [behind]


def test_nobody_known_holds_as_much_as_there_is():
    shares = Shares(2, GRACE)
    losers = judged(shares, held(None, 2))
    assert not losers.disputed
    shares.remember(held(None, 1, 9.0)[0], 200.0)
    assert shares.behind == set()


def test_those_who_were_idle_keep_half_together():
    shares = Shares(10, GRACE)
    for client in ("a", "b"):
        shares.remember(held(client, 1, GRACE)[0], 100.0 + REMEMBERED)
    losers = judged(shares, held("a", 4), held("b", 4), held("c", 2))
    assert len(losers.surplus) == 3
    assert set(clients(losers.surplus)) <= {"a", "b"}
    assert shares.behind == {"a", "b"}


def test_those_who_held_too_many_keep_half_each():
    shares = Shares(4, GRACE)
    shares.remember(held("a", 1)[0], 100.0 + REMEMBERED)
    assert not judged(shares, held("a", 2), held("b", 2)).surplus
    assert clients(judged(shares, held("a", 3), held("b", 1)).surplus) == ["a"]


def test_an_offender_is_forgotten():
    shares = Shares(4, GRACE)
    shares.remember(held("a", 1, GRACE)[0], 100.0 + REMEMBERED)
    judged(shares, now=100.0 + REMEMBERED - 1)
    assert shares.offenders
    judged(shares, now=100.0 + REMEMBERED)
    assert not shares.offenders
    assert shares.behind == set()
