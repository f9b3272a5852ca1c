"""A request's body that comes while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from ..fields.trailers import Trailers


class StreamedBody:
    """An async iterable in two parts: what is there leaves with the head, then comes the rest.

    Each attempt begins it again.
    """

    __slots__ = ()

    complete: bool
    """Whether `begin` or the iteration has given the end."""

    @property
    def trailers(self) -> Trailers:
        """The fields behind it, once it is complete."""
        raise NotImplementedError

    def begin(self) -> bytes:
        """Start from the first byte: all that is there already, without waiting."""
        raise NotImplementedError

    def rest(self) -> AsyncIterator[Sequence[bytes]]:
        """What comes behind the bytes that `begin` gave: at each step all that is there."""
        raise NotImplementedError

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if first := self.begin():
            yield first
        async for parts in self.rest():
            yield b"".join(parts)

    def wait(self) -> None:
        """The request waits for a connection, and what comes of its body with it.

        Raises Overloaded where there is no room for it.
        """
        raise NotImplementedError


class RestOfBody:
    """What comes behind the start of a body."""

    def __init__(self, body: StreamedBody) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        return self._body.rest()

    @property
    def trailers(self) -> Trailers:
        """The fields behind it, once it was read to its end."""
        return self._body.trailers


async def in_parts(body: AsyncIterable[bytes]) -> AsyncIterator[Sequence[bytes]]:
    """A body of httpx's, as ours come."""
    async for data in body:
        yield (data,)
