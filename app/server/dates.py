"""The `Date` of answers that have none (RFC 9110 §6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from time import time


@lru_cache(maxsize=2)
def date_of(second: int) -> bytes:
    """The field's value for a second since the epoch."""
    return formatdate(second, usegmt=True).encode("ascii")


@lru_cache(maxsize=2)
def date_line(second: int) -> bytes:
    """The field line for a second since the epoch.

    >>> date_line(784111777)
    b'date: Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return b"date: " + date_of(second)


def date_now() -> bytes:
    """The field line for this second."""
    return date_line(int(time()))
