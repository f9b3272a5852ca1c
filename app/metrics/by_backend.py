"""The families that name backends; how many are named is bounded."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping

from ..masking import masked_url
from .exposition import Exposition, escaped
from .families import BAD, EVIDENCE, HEAD, UNANSWERED, Family
from .shown import attempts

LABELS = ("frontend", "backend")
MAX_UP = 1000
"""Backends that `hipache_backend_up` names."""


def backends(out: Exposition, shown: Mapping[str, array[float]]) -> Iterator[str]:
    """What backends have answered, by the keys of `shown.per_backend`."""
    labelled = [(_labels(*_parts(key)), cells) for key, cells in shown.items() if cells]
    yield from out.counter(
        Family("backend_requests", "Attempts at a backend.", LABELS),
        ((labels, attempts(cells)) for labels, cells in labelled),
    )
    yield from out.counter(
        Family(
            "backend_errors",
            "Attempts at a backend without an answer, or with one that was 5xx or cut.",
            LABELS,
        ),
        ((labels, cells[UNANSWERED] + cells[BAD]) for labels, cells in labelled),
    )
    yield from out.counter(
        Family("backend_evidence", "Attempts that are evidence against a backend.", LABELS),
        ((labels, cells[EVIDENCE]) for labels, cells in labelled),
    )
    yield from out.histogram(
        Family(
            "backend_latency_seconds",
            "From the start of an attempt at a backend to the head of its answer.",
            LABELS,
        ),
        ((labels, cells[HEAD:]) for labels, cells in labelled),
    )


def up(out: Exposition, known: Iterable[tuple[str, str, bool]]) -> Iterator[str]:
    """Whether backends may be chosen. `known`: their frontend, URL, and whether it is so."""
    first = sorted(known, key=lambda each: each[2])[:MAX_UP]  # False before True
    yield from out.gauge(
        Family("backend_up", "Whether a backend is in order: 1, or 0 while it is marked.", LABELS),
        ((_labels(key, url), float(is_up)) for key, url, is_up in first),
    )


def _parts(key: str) -> tuple[str, str]:
    """Frontend and URL; what is not named by its URL is among the others."""
    frontend, _, url = key.partition("\0")
    return frontend, url or "other"


def _labels(frontend: str, url: str) -> str:
    return f'frontend="{escaped(frontend)}",backend="{escaped(masked_url(url))}"'
