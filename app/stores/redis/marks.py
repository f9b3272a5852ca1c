"""Dead marks as they stand in Redis, for us and for older readers. Pure.

`dead:<key>` is Hipache's: a set of backend indexes with one expiry for all. `dead-info:<key>` is
ours: a hash whose fields are backend URLs, so that a mark follows its URL when the list is edited
and every backend has its own expiry (hipache.md 1.10, points 8 and 9).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ...routing import Backend, Frontend, Mark
from ..base import FOREIGN


def encode_mark(mark: Mark, index: int) -> str:
    """The value of one field of `dead-info:<key>`."""
    return json.dumps(
        {
            "until": mark.until,
            "since": mark.since,
            "reason": mark.reason,
            "by": mark.by,
            "failures": mark.failures,
            "index": index,
        }
    )


def decode_mark(text: str) -> tuple[Mark, int] | None:
    """The mark and the index it was written with, or None for a text that we did not write."""
    try:
        value = json.loads(text)
        mark = Mark(
            until=float(value["until"]),
            since=float(value["since"]),
            reason=str(value["reason"]),
            by=str(value["by"]),
            failures=int(value["failures"]),
        )
        return mark, int(value["index"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def decide(
    frontend: Frontend, ids: Iterable[str], expires: float, info: Mapping[str, str], *, now: float
) -> dict[str, Mark]:
    """Which backends of `frontend` are marked, by URL.

    `ids` and `expires` (Unix seconds, infinite without expiry) are `dead:<key>`, `info` is
    `dead-info:<key>`. Our own entry decides about its URL. An index that none of our entries
    stands for was written by somebody else and counts for the URL that is there now. Once all of
    ours have lapsed, `dead:<key>` cannot be ours any more: then every index is somebody else's.
    """
    ours = {url: entry for url, text in info.items() if (entry := decode_mark(text))}
    written_by_us: set[int] = set()
    if ours and max(mark.until for mark, _ in ours.values()) > now - 1:
        written_by_us = {index for _, index in ours.values()}
    marks = {url: mark for url, (mark, _) in ours.items()}
    by_index = {backend.index: backend for backend in frontend.backends}
    for text in ids:
        backend = by_index.get(int(text)) if text.isdecimal() else None
        if backend is None or backend.index in written_by_us:
            continue
        known = marks.get(backend.url)
        if known is None or known.until <= now:
            marks[backend.url] = foreign_mark(expires, now, known.failures if known else 0)
    return marks


def foreign_mark(expires: float, now: float, failures: int) -> Mark:
    """What we know of a bare index: only how long it will stand."""
    return Mark(
        until=expires,
        since=now,
        reason="marked by another program",
        by=FOREIGN,
        failures=failures + 1,
    )


def announcement(frontend: Frontend, backend: Backend) -> str:
    """What is published on `dead`: `frontend;url;id;len`, the URL as it stands in the list.

    Hipache published `url.parse(x).href`, which has a slash more; hchecker takes both, planb's
    monitor only this one (hipache.md 1.2).
    """
    return f"{frontend.key};{backend.url};{backend.index};{frontend.size}"
