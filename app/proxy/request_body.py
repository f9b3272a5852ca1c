"""The client's body on its way to a backend: streamed once, kept while it is small."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.types import Receive

from ..fields.headers import RawHeaders


class ClientLeft(Exception):
    """The client closed its connection; no backend is to blame."""


class RequestBody:
    """An async iterable over the body's chunks, at its reader's pace.

    It keeps up to `hold` bytes, so that a request whose backend failed can be sent
    again from its first byte. Hipache piped the request straight through: the second
    backend missed what the first had read (hipache #137).
    """

    __slots__ = (
        "_held", "_hold", "_receive", "before", "complete", "on_complete", "size", "trailers_of",
    )  # fmt: skip

    def __init__(self, receive: Receive, *, hold: int) -> None:
        self._receive = receive
        self._hold = hold
        self._held: list[bytes] | None = []
        self.complete = False
        """Whether the client has sent all of it."""
        self.before: Callable[[], Awaitable[None]] | None = None
        """Awaited before the first byte is asked of the client."""
        self.on_complete: Callable[[], None] | None = None
        self.trailers_of: Callable[[], RawHeaders] | None = None
        """Gives the fields behind the body, once it is complete."""
        self.size = 0
        """Bytes received from the client so far."""

    @property
    def replayable(self) -> bool:
        """Whether all bytes read so far can still be sent again."""
        return self._held is not None

    @property
    def trailers(self) -> RawHeaders:
        """The fields behind the body for the backend, once all of it was read."""
        return [] if self.trailers_of is None else self.trailers_of()

    async def whole(self) -> bytes:
        """All of it at once, for a body known to be small. Raises ClientLeft."""
        return b"".join([chunk async for chunk in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._held is None:
            raise RuntimeError("a body that was not held cannot be sent again")
        for chunk in tuple(self._held):
            yield chunk
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        while not self.complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            if not message.get("more_body", False):
                self.complete = True
                if self.on_complete is not None:
                    self.on_complete()
            chunk = message.get("body", b"")
            if chunk:
                self._keep(chunk)
                yield chunk

    def _keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._held is not None:
            if self.size > self._hold:
                self._held = None
            else:
                self._held.append(chunk)
