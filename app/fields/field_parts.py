"""Names and values of a message's fields, taken out at once. Pure.

Fields come by the hundred thousand a second; a loop in Python over those of one message costs more
than what it looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TypeAlias, TypeVar

from .remembering import Memo

V = TypeVar("V")
Names: TypeAlias = tuple[bytes, ...]
Field: TypeAlias = tuple[bytes, bytes]

_name: Callable[[Field], bytes] = itemgetter(0)
_value: Callable[[Field], bytes] = itemgetter(1)

FIELD = 32
"""Bytes that a field counts beside its name and value."""
MOST, LARGEST = 512, 2048


def names_of(fields: Iterable[Field]) -> Names:
    """
    >>> names_of([(b"host", b"a.test"), (b"te", b"trailers")])
    (b'host', b'te')
    """
    return tuple(map(_name, fields))


def joined_values(fields: Iterable[Field]) -> bytes:
    """
    >>> joined_values([(b"host", b"a.test"), (b"te", b"trailers")])
    b'a.testtrailers'
    """
    return b"".join(map(_value, fields))


def size_of(fields: Iterable[Field]) -> int:
    """Bytes of all names and values, and 32 for each field (RFC 9113 §6.5.2): a thousand fields of
    one letter take more memory than one of a thousand."""
    return sum([len(name) + len(value) + FIELD for name, value in fields])


def _size_of_names(names: Names) -> int:
    return sum(map(len, names)) + FIELD * len(names)


def by_names(function: Callable[[Names], V]) -> Memo[Names, V]:
    """What `function` gives for the names of a message's fields; clients repeat these."""
    return Memo(function, MOST, LARGEST, _size_of_names)
