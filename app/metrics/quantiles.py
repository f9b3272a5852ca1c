"""Latencies, from the buckets of a histogram. Pure."""

from __future__ import annotations

from collections.abc import Sequence


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
