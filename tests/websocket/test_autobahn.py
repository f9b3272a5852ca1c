"""Autobahn's quick cases; `make autobahn` runs them all."""

from __future__ import annotations

from tests.websocket.autobahn import Comparison

QUICK = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.4.*", "7.*", "10.*"]


async def test_every_case_ends_as_on_a_direct_connection() -> None:
    comparison = Comparison()
    await comparison.run(QUICK)
    assert len(comparison.outcomes["direct"]) > 90
    assert not any(comparison.failed.values()), comparison.failed
    assert not any(comparison.different.values()), comparison.different
