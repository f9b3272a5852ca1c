"""What Redis answers, as our own values. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from ...errors import StoreUnavailable
from ...frontends.backends import MAX_BACKENDS
from ...frontends.option_names import UNREADABLE
from ...frontends.site import site_of
from ...routing import NO_MARKS, BadEntry, Frontend, Marks, parse_frontend
from ..base import StoreInTrouble
from . import marks as marks_format
from .cluster.parts import ShardAway

LAST_ROW = str(MAX_BACKENDS + 1)
"""The last row of a list that is read, for LRANGE: one more than is used, to see whether there are
more."""


def frontend_of(
    key: str, rows: Any, options: Mapping[str, str] | None, prefixes: Collection[str] = ()
) -> Frontend:
    """From the answer to LRANGE frontend:<key>, its options and its prefixes.

    Raises StoreUnavailable when the server cannot answer now.
    """
    if isinstance(rows, ResponseError):
        if not str(rows).startswith("WRONGTYPE"):
            raise in_trouble(rows) from rows
        reason = f"frontend:{key} is not a list"
        site = site_of(key, prefixes, listed=True)
        return Frontend(key, "", (), (BadEntry("", 0, reason),), site=site)
    return parse_frontend(key, rows_of_list(rows), options, prefixes)


def rows_of_list(answer: Any) -> list[str]:
    """From the answer to LRANGE; none where another type is in its place."""
    return [] if isinstance(answer, ResponseError) else [text(row) for row in answer]


def prefixes_of(answer: Any) -> list[str]:
    """From the answer to SMEMBERS paths:<host>.

    None where another type is in its place, or our user may not read it: a user that was set up
    for an older version has no such right. Raises StoreUnavailable when the server cannot answer
    now.
    """
    if not isinstance(answer, ResponseError):
        return [text(member) for member in answer]
    if not (isinstance(answer, NoPermissionError) or str(answer).startswith("WRONGTYPE")):
        raise in_trouble(answer) from answer
    return []


def options_of(key: str, answer: Any) -> dict[str, str]:
    """From the answer to HGETALL options:<key>.

    Options that cannot be read say so: they may hold rules about access.
    Raises StoreUnavailable when the server cannot answer now.
    """
    if not isinstance(answer, ResponseError):
        return mapping(answer)
    if not (isinstance(answer, NoPermissionError) or str(answer).startswith("WRONGTYPE")):
        raise in_trouble(answer) from answer
    return {UNREADABLE: f"options:{key} cannot be read: {answer}"}


def marks_of(
    frontend: Frontend,
    details: Sequence[Any],
    *,
    now: float,
    ahead: float = 0.0,
    longest: float = math.inf,
) -> Marks:
    """From the answers to SMEMBERS and PTTL of dead:<key>, and HGETALL dead-info:<key>.

    `ahead` and `longest` as in `marks.decide`.
    """
    ids, milliseconds, info = details[:3]
    if not ids and not info:
        return NO_MARKS
    members = [] if isinstance(ids, ResponseError) else [text(member) for member in ids]
    known = isinstance(milliseconds, int) and milliseconds >= 0
    expires = now + milliseconds / 1000 if known else math.inf
    return marks_format.decide(
        frontend, members, expires, mapping(info), now=now, ahead=ahead, longest=longest
    )


def in_trouble(answer: ResponseError) -> StoreUnavailable:
    """The server cannot answer now: none of our reads, or none of one part of a cluster."""
    return (StoreUnavailable if isinstance(answer, ShardAway) else StoreInTrouble)(str(answer))


def mapping(answer: Any) -> dict[str, str]:
    """A hash, raw or not; empty if there is none, or another type in its place."""
    if isinstance(answer, ResponseError) or not answer:
        return {}
    if isinstance(answer, list):
        return {text(key): text(answer[i + 1]) for i, key in enumerate(answer) if i % 2 == 0}
    return {text(key): text(value) for key, value in answer.items()}


def text(value: bytes | str) -> str:
    """Bytes as UTF-8; what is none shows as `\\xNN`, so that it can always be logged and sent."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
