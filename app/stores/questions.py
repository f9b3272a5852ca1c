"""What an operator asks all workers that share a store, seldom; each of them answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Answerer: TypeAlias = Callable[[str], Awaitable[str]]
"""Gets a question and returns its answer; empty for nothing to say."""


class Questions(Protocol):
    """One worker's ear."""

    def answer_with(self, answerer: Answerer) -> None:
        """Answer questions from now on, one at a time."""


@dataclass(frozen=True, slots=True)
class Replies:
    """What the workers have answered."""

    texts: list[str]
    """Of those that had something to say."""
    answered: int
    silent: int
    """Workers that did not answer in time."""


class Inquiry(Protocol):
    """Asks all workers. Belongs to one event loop."""

    async def ask(self, question: str, *, seconds: float) -> Replies:
        """Wait so long at most for all to answer. Raises StoreUnavailable."""

    async def aclose(self) -> None:
        """Release connections."""
