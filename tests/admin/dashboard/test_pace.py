"""Rates and latencies, from two sums."""

from __future__ import annotations

import asyncio

from app.admin.dashboard.pace import Lookback, Pace, looked_back
from app.metrics.blocks import SummedBlocks
from app.metrics.counters import Counters
from app.metrics.folder import Sum
from app.metrics.page import Page
from tests.metrics.test_counters import URL, request

BOUNDS = (0.1, 1.0)


def total(page: Page) -> Sum:
    content = page.read()
    return Sum(SummedBlocks([content.blocks]), [content], content.texts)


def lookback(*later: tuple[str, int, float], earlier: int = 3) -> Lookback:
    """Requests by key, status and time, after `earlier` others of a.test; in two seconds."""
    page = Page({"pid": 1})
    counters = Counters(page, BOUNDS)
    for _ in range(earlier):
        counters.ended(*request("a.test", total_time=0.05, head_time=0.05))
    before = total(page)
    for key, status, seconds in later:
        counters.ended(*request(key, status, total_time=seconds, head_time=seconds))
    return asyncio.run(looked_back(before, total(page), 2.0, BOUNDS))


def test_only_what_came_between_counts() -> None:
    pace = lookback(("a.test", 200, 0.5), ("a.test", 503, 5.0)).frontend("a.test")
    assert (pace.per_second, pace.errors_per_second, pace.share_failed) == (1.0, 0.5, 0.5)
    assert (pace.total, pace.errors) == (5, 1)
    assert pace.p50 == 1.0
    assert pace.p99 == float("inf")


def test_a_backend_and_the_whole_have_theirs() -> None:
    seen = lookback(("a.test", 200, 0.5), ("b.test", 200, 0.5))
    assert seen.backend("b.test", URL).per_second == 0.5
    assert asyncio.run(seen.whole()).per_second == 1.0
    assert seen.backend("a.test", "http://elsewhere") == seen.frontend("nobody") == Pace()


def test_a_service_that_was_started_anew_counts_from_zero() -> None:
    one, other = lookback(earlier=9), lookback(("a.test", 200, 0.5), earlier=1)
    anew = asyncio.run(looked_back(one.after, other.after, 2.0, BOUNDS))
    assert anew.frontend("a.test").per_second == 1.0


def test_what_is_busiest_fails_most_and_is_slowest() -> None:
    later = [("a.test", 200, 0.5), ("b.test", 500, 0.2), ("b.test", 500, 0.2), ("c.test", 200, 9.0)]
    seen = lookback(*later)
    assert asyncio.run(seen.busiest(1)) == ["b.test"]
    assert asyncio.run(seen.failing(5)) == ["b.test"]
    assert [key for key, _ in asyncio.run(seen.slowest(2))] == ["c.test", "a.test"]


def test_what_did_not_move_is_still_counted() -> None:
    seen = lookback(("b.test", 200, 0.5))
    assert list(seen.moving()) == ["b.test"]
    assert sorted(seen.names()) == ["a.test", "b.test"]
    still = seen.frontend("a.test")
    assert (still.per_second, still.p99, still.total) == (0.0, None, 3)
    assert seen.total("a.test") == 3
    assert seen.backend("a.test", URL).total == 3
