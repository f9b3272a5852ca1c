"""A small body that has come before its request begins, as those of most calls have. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..fields.trailers import Trailers
from ..upstream.streamed_body import StreamedBody

SMALL, PART = 2048, 16384
"""Bytes, and the part of what a worker may hold: above neither of them a body is small. It takes
less than the rest of its request, so it is not counted."""


class WholeBody(StreamedBody):
    """Each attempt gets it; nothing more is to come."""

    __slots__ = ("_data", "hold", "replayable", "size", "trailers")

    complete = True
    trailers: Trailers
    replayable: bool
    """Whether it can be sent once more."""

    def __init__(self, data: bytes, trailers: Trailers, *, hold: int) -> None:
        """`hold`: bytes that may be kept for a retry, 0 where none can follow."""
        self._data = data
        self.trailers = trailers
        self.hold = hold
        self.replayable = True
        self.size = 0  # until somebody takes it, as of any other body

    def begin(self) -> bytes:
        """All of it."""
        if not self.replayable:
            raise RuntimeError("a body that was not held cannot be sent again")
        self.size = len(self._data)
        self.replayable = self.size <= self.hold
        return self._data

    async def rest(self) -> AsyncIterator[Sequence[bytes]]:
        """Nothing."""
        return
        yield ()

    def wait(self) -> None:
        """There is room for what is small."""

    def wait_or_refuse(self) -> None:
        """There is room for what is small."""

    def drop(self) -> None:
        """Hold nothing any more: no retry will follow."""
        self._data, self.replayable = b"", False
