"""The states of an HTTP/1 connection: what it waits for, until when, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..system.held_memory import UNCOUNTED, HeldBytes
from .body_reading import READ_AHEAD
from .client_connection import LINGER_SECONDS, ClientConnection
from .edge import NO_DEADLINE
from .half_close import HalfClose
from .refusal import plain_response

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from .edge import Edge
    from .exchange import Exchange

# What the next bytes are.
HEAD, BODY, WAIT, DISCARD, LINGER, CLOSED, LAST = range(7)


class Http1Connection(ClientConnection):
    """One exchange at a time, a deadline for each state, and orderly ends."""

    __slots__ = ("_buffer", "_eof", "_half_close", "_held", "_state", "exchange")

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(edge, config, server_state, app_state, _loop)
        self.exchange: Exchange | None = None
        self._state = HEAD
        self._buffer = b""  # what has come of later requests
        self._held: HeldBytes | None = None  # what of it counts
        self._eof = False
        self._half_close: HalfClose | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSED
        self.let_go()
        if self._half_close is not None:
            self._half_close.stop()
        super().connection_lost(exc)
        if self.exchange is not None:
            self.exchange.disconnect()
            self.exchange = None

    def eof_received(self) -> bool:
        """A half-close: the request is still answered (RFC 9112 §9.6)."""
        self._eof = True
        exchange = self.exchange
        if exchange is None:
            return False
        if self._state not in (WAIT, LAST) or self.peer.tls:  # TLS has no half-close in asyncio
            exchange.disconnect()
            return False
        self._half_close = HalfClose(
            self.transport,
            self.loop,
            probe=exchange.stream.send_continue,
            gone=self.transport.abort,
            after=self.edge.limits.half_close_probe,
        )
        return True

    def keep(self, data: bytes) -> bool:
        """Keep all that has come of requests that have not begun; False, with nothing kept any
        more, if there is no room for it."""
        counted = len(data) - UNCOUNTED
        if counted > 0 and self._held is None:
            self._held = self.edge.held_for(self.peer.address)
        if self._held is not None and not self._held.resize(max(0, counted)):
            self.let_go()
            return False
        self._buffer = data
        return True

    def keep_later(self, data: bytes) -> None:
        """Later requests wait. Without room for them this one is the last: what is not answered
        may be asked again on another connection (RFC 9112 §9.3.2)."""
        if not self.keep(data):
            self._state = LAST
            self.pause_reading()
        elif len(data) > READ_AHEAD:
            self.pause_reading()

    def let_go(self) -> bytes:
        """What was kept, which counts no more."""
        data, self._buffer = self._buffer, b""
        if self._held is not None:
            self._held.release()
        return data

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.exchange is not None:
            self.exchange.writable()

    def rearm(self) -> None:
        """Set the deadline that goes with the present state."""
        limits, state = self.edge.limits, self._state
        if self.write_paused or state in (DISCARD, CLOSED):
            self.deadline = self.edge.after(limits.idle_timeout)
        elif state == BODY:
            waits = not self.read_paused
            self.deadline = self.edge.after(limits.idle_timeout) if waits else NO_DEADLINE
        elif state == HEAD:
            wait = limits.header_timeout if self._buffer else limits.keep_alive_timeout
            self.deadline = self.edge.after(wait)
        elif state == LINGER:
            self.deadline = self.edge.after(LINGER_SECONDS)
        else:
            self.deadline = NO_DEADLINE

    # What an answer asks for.

    def must_close(self) -> bool:
        """Whether the answer that starts now is this connection's last."""
        raise NotImplementedError

    def response_done(self, keep_alive: bool, more_expected: bool) -> None:
        """The answer is complete: on to the next request, or the end.

        `more_expected`: the client did not ask to close the connection.
        """
        raise NotImplementedError

    # Ends.

    def turn_away(self, reason: str) -> None:
        self.answer_and_close(503, reason, b"retry-after: 1\r\n")

    def answer_and_close(
        self, status: int, text: str, fields: bytes = b"", *, to_head: bool = False
    ) -> None:
        """Answer without the application, and close once the client can have read it."""
        self.exchange = None
        self.transport.write(plain_response(status, text, fields, to_head=to_head))
        self._close(linger=True)

    def cut(self, *, reset: bool) -> None:
        """End the connection in the middle of an answer."""
        self.exchange = None
        if reset:
            self._state = CLOSED
            self.reset()
        else:
            self._close()

    def _close(self, *, linger: bool = False) -> None:
        """Close. `linger`: unread bytes may come, and would make of the close a reset that takes
        our answer along."""
        self.let_go()
        if linger and not self._eof and self.transport.can_write_eof():
            self._state = LINGER
            self.transport.write_eof()
            self.resume_reading()
        else:
            self._state = CLOSED
            self.transport.close()
        self._unsent = self.transport.get_write_buffer_size()
        self.rearm()

    def shutdown(self) -> None:
        """uvicorn drains: finish a running exchange; if idle, listen a moment longer.

        A request may just be on its way; closing at once would cut it.
        """
        self.edge.draining = True
        if self.exchange is not None and self.exchange.direct is not None:
            self.exchange.direct.hand_over()
        if self._state == HEAD:
            self.loop.call_later(self.edge.limits.drain_grace, self._close_idle)

    def _close_idle(self) -> None:
        if self._state == HEAD and not self._buffer:
            self._close()
