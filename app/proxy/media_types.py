"""Chooses the media type of our own pages that a client prefers. Pure."""

from __future__ import annotations

from functools import lru_cache

HTML, JSON, PROBLEM, PLAIN = (
    "text/html",
    "application/json",
    "application/problem+json",  # RFC 9457: the same members under its own name
    "text/plain",
)

MAX_ACCEPT = 1000
"""Bytes of `Accept` that are read: browsers send some 150, and values are remembered."""


def preferred_type(accept: bytes) -> str:
    """The media type of ours that `accept` likes best (RFC 9110 §12.5.1).

    Among equal wishes a type that is named comes before one that `*` covers, then
    HTML comes first: Hipache had nothing else. A client that accepts
    anything but names none of ours (curl) gets plain text: browsers name HTML. So does
    one that wants nothing that we have, an image say.

    >>> preferred_type(b"application/json, text/*;q=0.5")
    'application/json'
    >>> preferred_type(b"*/*"), preferred_type(b"text/html,*/*;q=0.8")
    ('text/plain', 'text/html')
    """
    return _preferred_type(accept[:MAX_ACCEPT])


@lru_cache(maxsize=256)
def _preferred_type(accept: bytes) -> str:
    wishes: dict[str, float] = {}
    for part in accept.decode("latin-1").lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if media_range:
            wishes[media_range] = _weight(parameters)
    if not wishes:
        return HTML

    def wish(media_type: str) -> tuple[float, int]:
        ranges = ("*/*", media_type.partition("/")[0] + "/*", media_type)
        precision = max((i for i in range(3) if ranges[i] in wishes), default=0)
        return wishes.get(ranges[precision], 0.0), precision

    best = max((HTML, JSON, PROBLEM, PLAIN), key=wish)
    weight, precision = wish(best)
    return PLAIN if not weight or (best == HTML and not precision) else best


def _weight(parameters: list[str]) -> float:
    """The `q` of a media range: 1 if there is none, 0 if it is not a number from 0 to 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
