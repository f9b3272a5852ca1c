"""Answers of a pure function that are asked for again and again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(dict[K, V]):
    """What a function gave for its arguments, found as in a dict: `memo[argument]`.

    It begins anew once it is full. functools.lru_cache forgets one at a time, but to find one it
    takes four times as long: it also moves that to the front.
    """

    __slots__ = ("_function", "_longest", "_most", "_size")

    def __init__(
        self,
        function: Callable[[K], V],
        most: int,
        longest: int = 0,
        size: Callable[[Any], int] = len,
    ) -> None:
        """`longest`: an argument above this `size` is not kept; 0: none is too long."""
        super().__init__()
        self._function = function
        self._most = most
        self._longest = longest
        self._size = size

    def __missing__(self, key: K) -> V:
        value = self._function(key)
        if 0 < self._longest < self._size(key):
            return value
        if len(self) >= self._most:
            self.clear()
        self[key] = value
        return value


def remembering(most: int, longest: int = 0) -> Callable[[Callable[[K], V]], Callable[[K], V]]:
    """Decorates a function of one argument; its answers for `most` arguments are kept, unless they
    are longer than `longest`.

    >>> remembering(2)(lambda name: name.upper())("a")
    'A'
    """

    def decorate(function: Callable[[K], V]) -> Callable[[K], V]:
        return Memo(function, most, longest).__getitem__

    return decorate
