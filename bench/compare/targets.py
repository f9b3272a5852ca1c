"""What Hipache has to reach, checked against the measured figures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare.results import Sample, cpu_difference, cpu_ratio, row

HIPACHE, NGINX, NODE = "hipache", "nginx", "node-http-proxy"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on CPU per request: as a ratio to another run, as a difference, or as it is."""

    text: str
    limit: float
    over: tuple[str, str]
    """(scenario, proxy)."""
    under: tuple[str, str] | None = None
    """(scenario, proxy) to divide by; without it the limit is in microseconds."""
    minus: tuple[str, str] | None = None
    """(scenario, proxy) to subtract."""

    def value(self, samples: Sequence[Sample]) -> float | None:
        """What was measured; None if it was not, or not without errors."""
        if self.under is not None:
            return cpu_ratio(samples, self.over, self.under)
        if self.minus is not None:
            return cpu_difference(samples, self.over, self.minus)
        found = row(samples, *self.over)
        return found.cpu_us if found and not found.errors else None

    def measured(self, samples: Sequence[Sample]) -> bool:
        """Whether a run was made for each of its sides."""
        sides = {side for side in (self.over, self.under, self.minus) if side}
        return sides <= {(each.scenario, each.proxy) for each in samples}


def _times(text: str, limit: float, scenario: str, other: str) -> Target:
    return Target(text, limit, (scenario, HIPACHE), (scenario, other))


TARGETS = (
    _times("small GET ÷ nginx", 4.0, "small_get", NGINX),
    _times("small GET ÷ node-http-proxy", 0.85, "small_get", NODE),
    _times("1 MiB download ÷ nginx", 1.5, "download", NGINX),
    _times("1 MiB upload ÷ nginx", 1.5, "upload", NGINX),
    Target("256 clients ÷ 16 clients", 1.15, ("clients_256", HIPACHE), ("clients_16", HIPACHE)),
    Target("1,000 hosts ÷ one host", 1.15, ("hosts_1000", HIPACHE), ("small_get", HIPACHE)),
    Target("HTTP/2 of 16 x 10 ÷ HTTP/1.1", 1.0, ("http2_16x10", HIPACHE), ("small_get", HIPACHE)),
    _times("HTTP/2 of 16 x 10 ÷ nginx", 2.5, "http2_16x10", NGINX),
    Target("HTTP/2 of 64 x 1 ÷ HTTP/1.1", 1.4, ("http2_64x1", HIPACHE), ("small_get", HIPACHE)),
    Target("HTTP/2 download ÷ HTTP/1.1", 1.3, ("http2_download", HIPACHE), ("download", HIPACHE)),
    Target("HTTP/2 upload ÷ HTTP/1.1", 1.3, ("http2_upload", HIPACHE), ("upload", HIPACHE)),
    Target(
        "Starlette's share, µs",
        5,
        ("small_get", "on-starlette"),
        minus=("small_get", "raw-asgi"),
    ),
    _times("64-byte echo ÷ nginx", 1.8, "echo_small", NGINX),
    _times("64-byte echo ÷ node-http-proxy", 1.0, "echo_small", NODE),
    Target("64-byte echo through the relay, µs", 50, ("echo_small", "hipache-relay")),
    _times("1 MiB echo ÷ nginx", 1.5, "echo_large", NGINX),
)


def verdicts(samples: Sequence[Sample]) -> list[tuple[Target, float | None]]:
    """The targets that were measured, each with its value; None where a run had errors."""
    return [(each, each.value(samples)) for each in TARGETS if each.measured(samples)]
