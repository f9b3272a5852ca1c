"""A connection of HTTP/2, as the requests on it see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from typing import Any, Protocol

from ...http2.engine import Engine


class SharedConnection(Protocol):
    """Carries many requests, each in a place of its own."""

    engine: Engine
    clock: Callable[[], float]
    """The event loop's; made once for all."""
    new_future: Callable[[], asyncio.Future[None]]
    scheme: bytes
    """Of its requests (RFC 9113 §8.3.1)."""
    tunnels: bool
    """Whether the backend takes WebSockets (RFC 8441)."""
    streams: dict[int, Any]
    """The requests under way, by the engine's numbers."""
    waiting: set[Any]
    """Those of them that wait until the backend has taken some of their body."""

    @property
    def below(self) -> asyncio.BaseTransport | None:
        """What carries its bytes, None where that is lost."""

    @property
    def accepts(self) -> bool:
        """Whether a request may begin."""

    @property
    def may_keep(self) -> bool:
        """Whether a place may serve another request."""

    def leave(self, place: Any) -> None:
        """`place` was closed; the last one closes the connection."""

    def retire(self) -> None:
        """Begin no further request; those under way go on."""

    def retire_from(self, addresses: Set[str]) -> None:
        """Retire if the connection leads to one of these addresses."""

    def reset(self, number: int) -> None:
        """End a stream before its time."""

    def give_back(self, size: int, number: int) -> None:
        """`size` bytes of stream `number` were taken: the backend may send as many again."""

    def flush_soon(self) -> None:
        """Send what the engine has, with all else that comes up in this turn of the loop."""
