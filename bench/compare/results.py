"""From single runs to medians and ratios. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One proxy under one load, once."""

    scenario: str
    proxy: str
    round: int
    requests: int
    """Requests answered, or WebSocket messages echoed."""
    seconds: float
    cpu_us: float
    """CPU microseconds per request of the proxy and all its processes."""
    busy: float
    """Share of its core that the proxy used; well below 1 the load was the limit, not the proxy."""
    p50_us: float
    p99_us: float
    errors: int
    others: float
    """Share of the whole machine that processes outside the benchmark used meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One proxy in one scenario over all rounds; medians, but for the errors."""

    proxy: str
    cpu_us: float
    requests_per_second: float
    busy: float
    p50_us: float
    p99_us: float
    errors: int
    """Sum of all rounds."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile; 0 of nothing.

    >>> percentile([3, 1, 2, 4], 50), percentile([3, 1, 2, 4], 99), percentile([], 50)
    (2, 4, 0.0)
    """
    if not values:
        return 0.0
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


def names(values: Iterable[str]) -> list[str]:
    """Without repetition, in order of first appearance."""
    return list(dict.fromkeys(values))


def row(samples: Sequence[Sample], scenario: str, proxy: str) -> Row | None:
    """The medians of one proxy in one scenario; None if it was not measured."""
    ours = [each for each in samples if (each.scenario, each.proxy) == (scenario, proxy)]
    if not ours:
        return None

    def middle(of: Callable[[Sample], float]) -> float:
        return median(map(of, ours))

    return Row(
        proxy=proxy,
        cpu_us=middle(lambda each: each.cpu_us),
        requests_per_second=middle(lambda each: each.requests / each.seconds),
        busy=middle(lambda each: each.busy),
        p50_us=middle(lambda each: each.p50_us),
        p99_us=middle(lambda each: each.p99_us),
        errors=sum(each.errors for each in ours),
    )


def cpu_ratio(
    samples: Sequence[Sample], over: tuple[str, str], under: tuple[str, str]
) -> float | None:
    """Median over the rounds of the CPU per request of `over` divided by that of `under`.

    Both are (scenario, proxy). Runs of one round lie seconds apart, so the ratio
    is steadier than its two parts when the machine is not. None if no round has both
    without errors.
    """
    pairs = _of_same_round(samples, over, under)
    ratios = [first / second for first, second in pairs if second > 0]
    return median(ratios) if ratios else None


def cpu_difference(
    samples: Sequence[Sample], more: tuple[str, str], less: tuple[str, str]
) -> float | None:
    """As `cpu_ratio`, but CPU microseconds per request of `more` minus that of `less`."""
    pairs = _of_same_round(samples, more, less)
    return median(first - second for first, second in pairs) if pairs else None


def _of_same_round(
    samples: Sequence[Sample], first: tuple[str, str], second: tuple[str, str]
) -> list[tuple[float, float]]:
    valid = (each for each in samples if not each.errors)
    cpu = {(each.scenario, each.proxy, each.round): each.cpu_us for each in valid}
    turns = sorted({each.round for each in samples})
    return [
        (cpu[(*first, turn)], cpu[(*second, turn)])
        for turn in turns
        if (*first, turn) in cpu and (*second, turn) in cpu
    ]
