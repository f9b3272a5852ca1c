"""Dead marks as they stand in Redis, for us and for older readers. Pure.

`dead:<key>` is Hipache's: a set of backend indexes with one expiry for all. `dead-info:<key>` is
ours: a hash whose fields are backend URLs, so that a mark follows its URL when the list is edited
and every backend has its own expiry (hipache.md 1.10, points 8 and 9).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import NamedTuple

from ...routing import Backend, Frontend, Mark
from ..base import FOREIGN


class WrittenMark(NamedTuple):
    """One field of `dead-info:<key>`, as it stands there: its times go by the writer's idea of
    the store's clock."""

    mark: Mark
    place: int
    """The backend's place in the list when it was written."""
    lasts: float = 0.0
    """Seconds for which it was meant; 0 where its writer, an older version, did not say."""


def encode_mark(mark: Mark, index: int, *, now: float, ahead: float = 0.0) -> str:
    """The value of one field of `dead-info:<key>`.

    `ahead`: seconds by which the store's clock is ahead of the one that `mark` and `now` go by.
    """
    return json.dumps(
        {
            "until": mark.until + ahead,
            "since": mark.since + ahead,
            "for": mark.until - now,
            "reason": mark.reason,
            "by": mark.by,
            "failures": mark.failures,
            "index": index,
            "evidence": mark.evidence,
        }
    )


def decode_mark(text: str) -> WrittenMark | None:
    """None for a text that we did not write."""
    try:
        value = json.loads(text)
        mark = Mark(
            until=float(value["until"]),
            since=float(value["since"]),
            reason=str(value["reason"]),
            by=str(value["by"]),
            failures=int(value["failures"]),
            evidence=bool(value.get("evidence")),  # older writers have no such key
        )
        return WrittenMark(mark, int(value["index"]), float(value.get("for", 0.0)))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def decide(
    frontend: Frontend,
    ids: Iterable[str],
    expires: float,
    info: Mapping[str, str],
    *,
    now: float,
    ahead: float = 0.0,
    longest: float = inf,
) -> dict[str, Mark]:
    """Which backends of `frontend` are marked, by URL.

    `ids` and `expires` (Unix seconds, infinite without expiry) are `dead:<key>`, `info` is
    `dead-info:<key>`. Our own entry decides about its URL. An index that none of our entries
    stands for was written by somebody else and counts for the URL that is there now. Once all of
    ours have lapsed, `dead:<key>` cannot be ours any more: then every index is somebody else's.

    The store's clock is `ahead` seconds ahead of the one that `now` and the answer go by. No
    mark of ours is believed for more than `longest` seconds from now, or what it was meant for.
    """
    ours = {url: entry for url, text in info.items() if (entry := decode_mark(text))}
    marks = {url: _believed(written, now, ahead, longest) for url, written in ours.items()}
    written_by_us: set[int] = set()
    if ours and max(mark.until for mark in marks.values()) > now - 1:
        written_by_us = {written.place for written in ours.values()}
    by_index = {backend.index: backend for backend in frontend.backends}
    for text in ids:
        backend = by_index.get(int(text)) if text.isdecimal() else None
        if backend is None or backend.index in written_by_us:
            continue
        known = marks.get(backend.url)
        if known is None or known.until <= now:
            marks[backend.url] = foreign_mark(expires, now, known.failures if known else 0)
    return marks


def _believed(written: WrittenMark, now: float, ahead: float, longest: float) -> Mark:
    """What a mark says by our own clock, whatever clock its writer had."""
    mark = written.mark
    return replace(
        mark,
        until=min(mark.until - ahead, now + max(longest, written.lasts)),
        since=min(mark.since - ahead, now),
    )


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
