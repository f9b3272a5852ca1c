"""The `Date` of answers that have none (RFC 9110 §6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from time import time

from ..fields.remembering import remembering


@remembering(2)
def date_of(second: int) -> bytes:
    """The field's value for a second since the epoch."""
    return formatdate(second, usegmt=True).encode("ascii")


def date_line(second: int) -> bytes:
    """The field line for a second since the epoch.

    >>> date_line(784111777)
    b'date: Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return b"date: " + date_of(second)


_date_line = remembering(2)(date_line)


def date_now() -> bytes:
    """The field line for this second."""
    return _date_line(int(time()))
