"""The client's body on its way to a backend: streamed, and held for a retry while it is small."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from starlette.types import Receive

from ..errors import Overloaded
from ..fields.headers import RawHeaders
from ..server.exchange import Exchange
from ..system.held_memory import HeldBytes
from ..upstream.streamed_body import StreamedBody

NO_ROOM = "no memory is left to hold the request's body while it waits"


class ClientLeft(Exception):
    """The client closed its connection; no backend is to blame."""


class RequestBody(StreamedBody):
    """Each attempt gets the body from its first byte, at its backend's pace.

    It holds up to `hold` bytes, as far as `kept` allows, so that a request whose backend
    failed can be sent again. Hipache piped the request straight through: the second
    backend missed what the first had read (hipache #137).
    """

    __slots__ = (
        "_exchange", "_held", "_kept", "_new_kept", "_receive", "_waits", "before", "complete",
        "hold", "on_complete", "size", "trailers_of",
    )  # fmt: skip

    def __init__(
        self,
        receive: Receive,
        exchange: Exchange | None,
        kept: Callable[[], HeldBytes],
        *,
        hold: int,
    ) -> None:
        """`exchange`: our own server's, None under another. `kept` is called once something is to
        be held. `hold`: 0 where no retry can follow."""
        self._receive = receive
        self._exchange = exchange
        self._new_kept = kept
        self._kept: HeldBytes | None = None
        self.hold = hold
        self._held: list[bytes] | None = []
        self._waits = False  # what comes counts at once
        self.complete = False
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
        if self._exchange is None or not self._exchange.trailers or self.trailers_of is None:
            return []
        return self.trailers_of()

    def wait(self) -> None:
        """Until it is begun, what comes is held, or refused. Raises Overloaded at once."""
        if not self._hold_what_comes():
            raise Overloaded(NO_ROOM)

    def wait_or_refuse(self) -> None:
        """The same where the waiting cannot be put off: the client is answered meanwhile."""
        if not self._hold_what_comes() and self._exchange is not None:
            self._exchange.refuse(503, NO_ROOM)

    def _hold_what_comes(self) -> bool:
        exchange = self._exchange
        if exchange is not None and not self._waits:
            grow = self._counted().grow
            if not grow(max(0, exchange.unread)):
                return False
            exchange.hold = grow
            self._waits = True
        return True

    def _counted(self) -> HeldBytes:
        """Counts what is held."""
        if self._kept is None:
            self._kept = self._new_kept()
        return self._kept

    def begin(self) -> bytes:
        """What is held, and what has come since."""
        if self._held is None:
            raise RuntimeError("a body that was not held cannot be sent again")
        parts, exchange = self._held, self._exchange
        if exchange is not None and not self.complete:
            if self._waits:
                self._waits = False
                self._counted().resize(self.size)
            if ready := exchange.take_body():
                self.before = None
                parts = [*parts, *ready]
            # A client that has gone took its body along: nothing of it is not all of it.
            self._came(ready, complete=exchange.body_complete and not exchange.disconnected)
        return b"".join(parts)

    async def rest(self) -> AsyncIterator[Sequence[bytes]]:
        """What comes from now on. Raises ClientLeft."""
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        exchange = self._exchange
        if exchange is not None and self._receive != exchange.receive:
            exchange = None  # middleware stands before it
        while not self.complete:
            if exchange is None:
                parts, complete = await self._message()
            elif await exchange.body_came():
                parts, complete = exchange.take_body(), exchange.body_complete
            else:
                raise ClientLeft
            self._came(parts, complete=complete)
            if parts:
                yield parts

    async def _message(self) -> tuple[list[bytes], bool]:
        """What ASGI gives, and whether it was the end. Raises ClientLeft."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        return [chunk] if chunk else [], not message.get("more_body", False)

    def _came(self, parts: list[bytes], *, complete: bool) -> None:
        if complete:
            self.complete = True
            if self.on_complete is not None:
                self.on_complete()
        if not parts:
            return
        size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        self.size += size
        if self._held is not None:
            if self.size <= self.hold and self._counted().grow(size):
                self._held += parts
            else:
                self.drop()

    def drop(self) -> None:
        """Hold nothing any more: no retry will follow."""
        self._held = None
        if self._kept is not None:
            self._kept.release()
        if self._exchange is not None:
            self._exchange.hold = None
