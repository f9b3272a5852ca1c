"""Rates and latencies, from two reports of the admin listener. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AdminReport = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Throughput:
    """One frontend or backend over an interval."""

    now: AdminReport
    """Its entry in the later report."""
    per_second: float
    errors_per_second: float
    buckets: list[int]
    """Observations of the interval, by bucket; the last one has no bound."""
    bounds: list[float]


def rates(
    before: Sequence[AdminReport],
    after: Sequence[AdminReport],
    name: str,
    histogram: str,
    seconds: float,
) -> list[Throughput]:
    """Each entry's throughput, the busiest first. `name` and `histogram` are keys of an entry."""

    def identity(each: AdminReport) -> tuple[object, ...]:
        return each["frontend"], each[name]

    then = {identity(each): each for each in before}
    found = []
    for each in after:
        old = then.get(identity(each), {})
        counts = _counts(each, histogram)
        earlier = _counts(old, histogram) or [0] * len(counts)
        buckets = [max(0, new - old) for new, old in zip(counts, earlier, strict=False)]
        errors = max(0, _errors(each) - _errors(old))
        bounds = (each[histogram] or {}).get("bounds", [])
        found.append(Throughput(each, sum(buckets) / seconds, errors / seconds, buckets, bounds))
    return sorted(found, key=lambda rate: -rate.per_second)


def _counts(report: AdminReport, histogram: str) -> list[int]:
    return list((report.get(histogram) or {}).get("counts", []))


def _errors(report: AdminReport) -> int:
    by_class: dict[str, int] = report.get("requests", {})
    failed = sum(count for name, count in by_class.items() if name.startswith("5xx"))
    return failed + int(report.get("unanswered", 0)) + int(report.get("bad", 0))


def quantile(share: float, buckets: Sequence[int], bounds: Sequence[float]) -> float | None:
    """The time that `share` of the observations stay below, in seconds; None without any.

    It is interpolated within its bucket, as Prometheus does; beyond the last
    bound it is infinite.

    >>> quantile(0.5, [0, 10, 0], [1.0, 2.0])
    1.5
    """
    wanted = share * sum(buckets)
    if not wanted:
        return None
    low = 0.0
    for count, bound in zip(buckets, bounds, strict=False):
        if wanted <= count:
            return low + (bound - low) * wanted / count
        wanted -= count
        low = bound
    return float("inf")


def latencies(buckets: Sequence[int], bounds: Sequence[float]) -> tuple[str, str]:
    """p50 and p99 as text.

    >>> latencies([100, 0, 0], [0.010, 10.0]), latencies([0, 0, 1], [0.01, 10.0])
    (('5.0 ms', '9.9 ms'), ('> 10 s', '> 10 s'))
    """
    p50, p99 = (_written(quantile(share, buckets, bounds), bounds) for share in (0.5, 0.99))
    return p50, p99


def _written(seconds: float | None, bounds: Sequence[float]) -> str:
    if seconds is None:
        return "-"
    if seconds == float("inf"):
        return f"> {bounds[-1]:g} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
