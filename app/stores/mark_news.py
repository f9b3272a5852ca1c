"""Who hears of backends that this worker marks, takes a mark from, or never marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..routing import Backend, Frontend

OnDead: TypeAlias = Callable[[Frontend, Backend, str, bool], None]
"""Its frontend, the backend, the cause in words, and whether it lived before: a trial that fails
marks it again."""
OnAlive: TypeAlias = Callable[[Frontend, Backend], None]
"""It has shown that it lives."""
OnOnlyFailed: TypeAlias = Callable[[Frontend, Backend], None]
"""The only backend of its frontend: a request found it dead, and it is not marked."""


def _no_one_told(*news: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class MarkNews:
    """All are called in the event loop and must not wait; at first nobody hears."""

    dead: OnDead = _no_one_told
    alive: OnAlive = _no_one_told
    only_failed: OnOnlyFailed = _no_one_told
