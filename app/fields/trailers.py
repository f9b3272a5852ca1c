"""Trailer fields, behind a chunked body: who takes them, and which may pass. Pure.

They are never merged into a head. Names are lower-case throughout.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TypeAlias

from .field_parts import size_of
from .names import CLAIMS, CONTROLS, FORWARDED, HOP_BY_HOP, FieldNames, as_read
from .remembering import Memo

Trailers: TypeAlias = Sequence[tuple[bytes, bytes]]

WELCOME = [(b"te", b"trailers"), (b"connection", b"TE")]
"""Tells a backend that its trailers are taken (RFC 9110 §10.1.4)."""

MOST, LARGEST = 512, 512
"""How many trailers are remembered, and their size: those of most calls say that all went well."""
_HEAD_ONLY = HOP_BY_HOP | FORWARDED | {
    b"host", b"location", b"refresh", b"via", b"cdn-loop", b"x-debug",  # routing
    b"authorization", b"www-authenticate", b"cookie", b"set-cookie",  # authentication
    b"cache-control", b"expect", b"max-forwards", b"pragma", b"range",  # request modifiers
    b"age", b"date", b"expires", b"retry-after", b"vary", b"warning",  # response controls
    b"strict-transport-security",
}  # fmt: skip
"""Without meaning, or dangerous, once the body is read (RFC 9110 §6.5.1)."""
_BEGINNINGS = (b"content-", b"if-", b"access-control-", b"x-debug-")
_DIGESTS = frozenset({b"content-digest", b"content-md5"})
"""Made while the body is sent: trailers are the place for them (RFC 9530 §2)."""
_CLAIMS = FieldNames.parse(CLAIMS)


def takes_trailers(headers: Collection[tuple[bytes, bytes]]) -> bool:
    """Whether the sender of this head said `TE: trailers`.

    >>> takes_trailers([(b"te", b"gzip;q=0.5, Trailers")])
    True
    """
    if WELCOME[0] in headers:
        return True
    return any(name == b"te" and _names_trailers(value) for name, value in headers)


def _names_trailers(value: bytes) -> bool:
    return any(part.strip(b" \t").lower() == b"trailers" for part in value.split(b","))


def passing_trailers(trailers: Trailers) -> list[tuple[bytes, bytes]]:
    """Those that may go on, in either direction.

    >>> passing_trailers([(b"x-sum", b"1"), (b"Content_Length", b"5")])
    [(b'x-sum', b'1')]
    """
    return _passing[tuple(trailers)].copy() if trailers else []


def _passing_trailers(trailers: Trailers) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in trailers
        if _may_pass(name) and len(value.translate(None, CONTROLS)) == len(value)
    ]


@lru_cache(maxsize=1024)  # backends say the same few all day
def _may_pass(name: bytes) -> bool:
    read = as_read(name.lower())
    if read in _HEAD_ONLY or _CLAIMS.has(read):
        return False
    return not read.startswith(_BEGINNINGS) or read in _DIGESTS


_passing = Memo(_passing_trailers, MOST, LARGEST, size_of)
