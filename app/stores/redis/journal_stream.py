"""The journal as a stream: written in the transaction that makes the change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from ...errors import StoreUnavailable
from ..journal import MAX_CHANGES, RouteChange, dump_change, newest
from .replies import text

FIELD = "change"
READ_AT_ONCE = 500
"""Changes in one answer."""


class RedisJournal:
    """One stream, `hipache:journal` behind the prefix of the store."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._name = name
        self._written = True

    def write(self, pipe: Any, change: RouteChange) -> None:
        """Add a change to the transaction."""
        if self._written:
            entry = {FIELD: dump_change(change)}
            pipe.xadd(self._name, entry, maxlen=MAX_CHANGES, approximate=True)

    def gives_up(self, error: ResponseError) -> bool:
        """Whether the transaction may be tried again, without the journal.

        Raises StoreUnavailable where this user must be allowed to write it.
        """
        told = str(error).lower()
        if "xadd" not in told and self._name.lower() not in told:
            return False
        if isinstance(error, NoPermissionError):
            raise StoreUnavailable(
                f"this user may not write the journal: it needs +xadd ~{self._name}"
            ) from error
        if self._written and "unknown command" in told:  # a Redis before 5.0 has no streams
            self._written = False
            return True
        return False

    async def read(self, key: str | None, most: int) -> list[RouteChange]:
        """The newest changes. Raises RedisError."""
        found: list[RouteChange] = []
        async for line in self._lines():
            found += newest([line], key)
            if len(found) >= most:
                break
        return found

    async def _lines(self) -> AsyncIterator[str]:
        end = "+"
        while entries := await self._client.xrevrange(self._name, end, "-", count=READ_AT_ONCE):
            for _, fields in entries:
                for value in (fields or {}).values():
                    yield text(value)
            if len(entries) < READ_AT_ONCE:
                return
            end = _before(text(entries[-1][0] or b"0-0"))


def _before(entry: str) -> str:
    """The number before that of an entry.

    >>> _before("17-2"), _before("17-0")
    ('17-1', '16')
    """
    moment, _, count = entry.partition("-")
    return f"{moment}-{int(count) - 1}" if int(count) else str(int(moment) - 1)
