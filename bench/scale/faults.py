"""What may happen to the Redis of a fleet, and how the fleet comes through."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.scale.fleet import Fleet, Measured
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


def flushall(fleet: Fleet, rate: float, seconds: float) -> str:
    """FLUSHALL; the frontends that change are written again at once."""
    fleet.server.ask("FLUSHALL")
    took = fleet.server.fill(CHANGING)
    after = fleet.change(rate, seconds)
    return f"{CHANGING} frontends were written again in {took:.1f} s; {_told(after, seconds)}"


def _told(after: Measured, seconds: float) -> str:
    seen, real = after.seen, after.real
    return (
        f"in the next {seconds:g} s changes were seen within {seen.quantile(0.5):.1f} ms (p50), "
        f"{seen.quantile(0.99):.1f} ms (p99), {seen.quantile(1):.1f} ms (max), "
        f"Redis took {100 * after.redis:.0f} % of a core with {after.connections} connections, "
        f"real workers wanted {real.reads} reads for {real.requests} requests, "
        f"and {real.failed} failed"
    )


FAULTS: dict[str, Callable[[Fleet, float, float], str]] = {"outage": outage, "flushall": flushall}
