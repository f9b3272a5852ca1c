"""A request's body on its way in, over any version of HTTP: what has come, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..fields.trailers import Trailers
    from .stream import Stream

UNREAD_LIMIT = 65536  # body bytes held for the application before reading pauses
LARGE_PART = 4096  # bytes: from here on a part costs less alone than a copy of it would


class ArrivingBody:
    """The half of an Exchange that its reader and its protocol share.

    Exchange sets the fields: one more call for each request would cost more than it explains.
    """

    __slots__ = (
        "_body", "_waiter", "body_complete", "disconnected", "hold", "stream", "trailers", "unread",
    )  # fmt: skip

    stream: Stream
    body_complete: bool
    disconnected: bool
    trailers: Trailers
    hold: Callable[[int], bool] | None
    unread: int
    _body: list[bytes]
    _waiter: asyncio.Future[None] | None

    # For the reader.

    async def body_came(self) -> bool:
        """Wait until `take_body` gives something or the end; False: the client has gone."""
        while not self.disconnected and not self.stream.complete:
            if self._body or (self.body_complete and self.unread >= 0):
                return True
            if self.stream.expects_continue:
                self.stream.send_continue()
            await self._woken()
        return False

    def take_body(self) -> list[bytes]:
        """What has come of the body, without waiting; with `body_complete` it was the end.

        Parts are joined where they are small, so that a client's many frames are not ours.
        """
        parts, self._body, self.hold = self._body, [], None  # from now on its reader sets the pace
        if len(parts) > 1 and self.unread < len(parts) * LARGE_PART:
            parts = [b"".join(parts)]
        if parts or self.body_complete:
            self.unread = -1 if self.body_complete else 0
            self.stream.expects_continue = False
            if parts:
                self.stream.resume()
        return parts

    async def wait_for_body(self, seconds: float) -> None:
        """Wait until something of the body is here, without asking the client for it."""
        if not (self._body or self.body_complete or self.disconnected):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken()

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # For the protocol.

    def feed(self, data: bytes) -> None:
        """Body bytes came. Where they have to wait and must not be held, the request is refused."""
        if self.hold is not None and not self.hold(len(data)):
            self.refuse(503, "no memory is left to hold the body while it waits")
            return
        self._body.append(data)
        self.unread += len(data)
        self.wake()
        if self.unread > UNREAD_LIMIT:
            self.stream.pause()

    def came_whole(self, data: bytes) -> None:
        """All of it came with its head, before anybody could wait for it."""
        self._body.append(data)
        self.unread = len(data)
        self.body_complete = True

    def end_body(self, trailers: Trailers = ()) -> None:
        self.trailers = trailers
        self.body_complete = True
        self.wake()

    def wake(self) -> None:
        """Something that `receive` waits for has come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def refuse(self, status: int, text: str) -> None:
        """The body is not legal: answer so, or cut the answer that runs."""
        raise NotImplementedError
