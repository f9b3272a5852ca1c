"""Who hears of backends that this worker marks, or takes a mark from."""

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


def _no_one_told(*news: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class MarkNews:
    """Both are called in the event loop and must not wait; at first nobody hears."""

    dead: OnDead = _no_one_told
    alive: OnAlive = _no_one_told
