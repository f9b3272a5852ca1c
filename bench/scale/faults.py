"""What may happen to the Redis of a fleet, and how the fleet comes through."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.scale.fleet import Fleet, Measured
from bench.scale.real import RealCounts
from bench.scale.shared_numbers import CHANGING

AWAY = 2.0
"""Seconds that the server is away in an outage."""
BACK_WITHIN = 2.0
"""Seconds after an outage in which workers connect again."""


def outage(fleet: Fleet, rate: float, seconds: float) -> str:
    """It saves, is killed with SIGKILL, and comes back after 2 s."""
    fleet.server.ask("SAVE")
    fleet.back()
    fleet.server.kill()
    time.sleep(AWAY)
    started = time.monotonic()
    fleet.server.start()
    after = fleet.change(rate, seconds, BACK_WITHIN)  # those who come late are told of few
    count, last = fleet.back()
    came = f"{count} simulated workers were back {max(0.0, last - started):.1f} s after its start"
    return f"{came}; {_told(after, seconds)}"


def failover(fleet: Fleet, rate: float, seconds: float) -> str:
    """It is killed with SIGKILL, and Sentinel promotes its replica."""
    fleet.back()
    killed = time.monotonic()
    fleet.server.fail_over()
    took = time.monotonic() - killed
    real = fleet.take()[1]
    after = fleet.change(rate, seconds, BACK_WITHIN)
    count, last = fleet.back()
    came = f"{count} simulated workers were back {max(0.0, last - killed - took):.1f} s later"
    return (
        f"the replica was promoted {took:.1f} s after the death of its primary, meanwhile "
        f"{_failed(real)}; {came}; "
        f"{_told(after, seconds)}"
    )


def flushall(fleet: Fleet, rate: float, seconds: float) -> str:
    """FLUSHALL; the frontends that change are written again at once."""
    fleet.take()
    fleet.server.ask("FLUSHALL")
    took = fleet.server.fill(CHANGING)
    seen, missing = fleet.settled(CHANGING)
    after = fleet.change(rate, seconds)
    return (
        f"{CHANGING} frontends were written again in {took:.1f} s, and seen within "
        f"{seen.quantile(0.5):.0f} ms (p50), {seen.quantile(1):.0f} ms (max), "
        f"{missing} of them not; {_told(after, seconds)}"
    )


def _told(after: Measured, seconds: float) -> str:
    seen, real = after.seen, after.real
    return (
        f"in the next {seconds:g} s changes were seen within {seen.quantile(0.5):.1f} ms (p50), "
        f"{seen.quantile(0.99):.1f} ms (p99), {seen.quantile(1):.1f} ms (max), "
        f"Redis took {100 * after.redis:.0f} % of a core with {after.connections} connections, "
        f"real workers wanted {real.reads} reads, and {_failed(real)}"
    )


def _failed(real: RealCounts) -> str:
    return (
        f"of {real.requests} requests of real workers {real.failed} failed for hosts that they "
        f"knew, and {real.unread} for others"
    )


FAULTS: dict[str, Callable[[Fleet, float, float], str]] = {
    "failover": failover, "outage": outage, "flushall": flushall,
}  # fmt: skip
"""In the order in which they can happen: only a primary with its replica can fail over."""
