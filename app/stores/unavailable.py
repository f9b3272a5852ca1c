"""What a library raises where a store is away, as the store's own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoreUnavailable


@contextmanager
def translated(name: str, *kinds: type[Exception]) -> Iterator[None]:
    """OSError and errors of `kinds` become StoreUnavailable, which begins with the store's name."""
    caught: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except caught as exc:
        raise StoreUnavailable(f"{name}: {exc}") from exc
