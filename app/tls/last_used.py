"""What is kept for names that clients ask for: until nobody has for a while, or others are used
and there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Generic, TypeVar

UNUSED_FOR = 3600.0
"""Seconds after which something goes that no client has asked for."""

T = TypeVar("T")


class LastUsed(Generic[T]):
    """By name, the one used last is last. Each use looks at the one used first, and no further."""

    def __init__(self, most: int = 0, dropped: Callable[[str], None] | None = None) -> None:
        """`most`: names to keep; 0: all that are in use. `dropped` hears of what made room."""
        self._most = most
        self._dropped = dropped
        self._kept: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str) -> T | None:
        """What is kept for this name."""
        found = self._kept.get(name)
        return found[0] if found is not None else None

    def use(self, name: str, value: T) -> None:
        """Keep this for `name`, which a client has asked for now."""
        now = monotonic()
        self._kept[name] = value, now
        self._kept.move_to_end(name)
        oldest, (_, used) = next(iter(self._kept.items()))
        if now - used > UNUSED_FOR or 0 < self._most < len(self._kept):
            self.drop(oldest)
            if self._dropped is not None:
                self._dropped(oldest)

    def drop(self, name: str) -> None:
        """Keep nothing for it. Another thread may say so: it is one step."""
        self._kept.pop(name, None)
