"""Rates and latencies, from two reports of the admin listener. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.quantiles import quantile

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


def as_objects(found: Sequence[Throughput]) -> list[AdminReport]:
    """For JSON: what is known of each, with rates and latencies (seconds; null where none is)."""
    return [
        {
            **{name: value for name, value in each.now.items() if not isinstance(value, dict)},
            "per_second": round(each.per_second, 3),
            "errors_per_second": round(each.errors_per_second, 3),
            "p50": _finite(quantile(0.5, each.buckets, each.bounds)),
            "p99": _finite(quantile(0.99, each.buckets, each.bounds)),
        }
        for each in found
    ]


def _finite(seconds: float | None) -> float | None:
    """A time beyond the last bucket is not known, and JSON has no infinity."""
    return None if seconds is None or seconds == float("inf") else round(seconds, 6)
