"""One bound for what a worker holds of its clients' bytes, and each client's share of it.

A head that is not complete, a request behind another one, a body that is kept for a retry or
waits for its turn, a WebSocket message that is not complete: any visitor can begin thousands of
them and end none. All are counted here, so that together they cannot fill a worker's memory,
and one address cannot take it from others.
"""

from __future__ import annotations

from collections.abc import Callable

BODIES = 0.25
"""The part of all that one client may hold when it sends the body of a request."""
HEADS = 0.5
"""When it sends heads: what it holds of bodies leaves room for them."""
MESSAGES = 0.5
"""When it sends a message: one of 16 MiB passes where 32 MiB may be held."""
UNCOUNTED = 4096
"""Bytes that do not count, of each connection's heads and of each leg of a relay: most are
smaller, and counting takes time."""


class HeldMemory:
    """How many bytes one worker holds, and for which clients."""

    __slots__ = ("_by_client", "limit", "size")

    def __init__(self, limit: int = 0) -> None:
        """`limit` in bytes; 0 means no limit."""
        self.limit = limit
        self.size = 0
        self._by_client: dict[str, int] = {}

    def take(self, client: str | None, size: int, part: float) -> bool:
        """Count `size` more bytes for `client`; False, with nothing done, if they do not fit.

        `part` of all is what it may hold then. None is a client without a share of its own,
        such as one of our own proxies.
        """
        held = 0 if client is None else self._by_client.get(client, 0)
        if self.limit and (self.size + size > self.limit or held + size > self.limit * part):
            return False
        self.size += size
        if client is not None:
            self._by_client[client] = held + size
        return True

    def give_back(self, client: str | None, size: int) -> None:
        """`size` bytes are held no more."""
        self.size -= size
        if client is not None:
            left = self._by_client[client] - size
            if left:
                self._by_client[client] = left
            else:
                del self._by_client[client]


class HeldBytes:
    """What is held for one purpose of one client. `release` it in the end."""

    __slots__ = ("_client", "_find_client", "_memory", "_part", "size")

    def __init__(
        self, memory: HeldMemory, find_client: Callable[[], str | None], part: float
    ) -> None:
        """`find_client` is called for the first byte; `part`: BODIES, HEADS or
        MESSAGES."""
        self._memory = memory
        self._find_client: Callable[[], str | None] | None = find_client
        self._client: str | None = None
        self._part = part
        self.size = 0

    def another(self) -> HeldBytes:
        """For another purpose of the same client."""
        client = self._whose()
        return HeldBytes(self._memory, lambda: client, self._part)

    def _whose(self) -> str | None:
        if self._find_client is not None:
            self._client = self._find_client()
            self._find_client = None
        return self._client

    def grow(self, size: int) -> bool:
        """Hold `size` more bytes; False, with nothing done, if they do not fit."""
        if not size:
            return True
        if not self._memory.take(self._whose(), size, self._part):
            return False
        self.size += size
        return True

    def resize(self, size: int) -> bool:
        """Hold `size` bytes in all; False, with nothing done, if they do not fit."""
        more = size - self.size
        if more > 0:
            return self.grow(more)
        if more:
            self._memory.give_back(self._client, -more)
            self.size = size
        return True

    def release(self) -> None:
        """Hold nothing any more."""
        self.resize(0)
