"""A client's connection below HTTP: counted, timed, paused, and ended in order."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from .half_close import HalfClose
from .peer import Endpoint, Peer, peer_of
from .refusal import plain_response

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from .edge import Edge
    from .exchange import Exchange

NEVER = float("inf")
HIGH_WATER = 65536
"""Bytes that may wait in each direction before the source is paused; asyncio's own default."""
LINGER_SECONDS = 2.0
"""How long a refused sender is listened to, so that it can read why (RFC 9112 §9.6)."""
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s

# What the next bytes are.
HEAD, BODY, WAIT, DISCARD, LINGER, CLOSED = range(6)


class Connection(asyncio.Protocol):
    """Holds the transport and the deadline; what the bytes mean is the subclass's matter.

    It keeps uvicorn's contract with its protocols: the constructor, `shutdown`,
    and membership in the server's `connections`.
    """

    __slots__ = (
        "_buffer",
        "_eof",
        "_half_close",
        "_state",
        "_unsent",
        "app",
        "app_state",
        "config",
        "deadline",
        "edge",
        "exchange",
        "loop",
        "origin",
        "peer",
        "read_paused",
        "server_state",
        "tasks",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport
    peer: Peer

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.edge = edge
        self.config = config
        self.app = config.loaded_app
        self.server_state = server_state
        self.tasks = server_state.tasks
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.read_paused = False
        self.write_paused = False
        self._state = HEAD
        self._buffer = b""
        self._eof = False
        self._half_close: HalfClose | None = None
        self._unsent = 0  # in the transport's buffer at the last look
        self.origin: tuple[Endpoint, Endpoint] | None = None
        """Client and server as a trusted balancer tells them, before `connection_made`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.peer = peer_of(transport, self.origin)
        if self.peer.tls:
            self.edge.handshakes += 1
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        over = self.edge.admit(self, self.peer.address, self.loop)
        self.deadline = self.edge.after(self.edge.limits.header_timeout)
        if over is not None:
            self._turn_away(over)
        elif self.edge.draining or self.edge.stopping():
            self.shutdown()

    @property
    def connected(self) -> bool:
        """Whether `connection_made` was called."""
        return hasattr(self, "transport")

    def _turn_away(self, reason: str) -> None:
        if self.edge.flooded:
            self.transport.abort()
        else:
            self.answer_and_close(503, reason, b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSED
        self.deadline = NEVER
        self._buffer = b""
        if self._half_close is not None:
            self._half_close.stop()
        self.server_state.connections.discard(self)
        self.edge.release(self, self.peer.address)
        if self.exchange is not None:
            self.exchange.disconnect()
            self.exchange = None

    def eof_received(self) -> bool:
        """A half-close: what was asked is still answered (RFC 9112 §9.6)."""
        self._eof = True
        exchange = self.exchange
        if exchange is None:
            return False
        if self._state != WAIT or self.peer.tls:  # TLS has no half-close in asyncio
            exchange.disconnect()
            return False
        self._half_close = HalfClose(
            self.transport,
            self.loop,
            may_probe=lambda: exchange.http11 and not exchange.started,
            gone=self.transport.abort,
            after=self.edge.limits.half_close_probe,
        )
        return True

    def expire(self) -> None:
        """The sweep found the deadline over."""
        raise NotImplementedError

    # Pace.

    def pause_writing(self) -> None:
        self.write_paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self._rearm()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._rearm()
        if self.exchange is not None:
            self.exchange.resume()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
            self._rearm()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
            self._rearm()

    # Deadlines.

    def _rearm(self) -> None:
        """The deadline that goes with the present state. Only what *we* wait for has one."""
        limits, state = self.edge.limits, self._state
        if self.write_paused or state in (DISCARD, CLOSED):
            self.deadline = self.edge.after(limits.idle_timeout)
        elif state == BODY:
            self.deadline = NEVER if self.read_paused else self.edge.after(limits.idle_timeout)
        elif state == HEAD:
            wait = limits.header_timeout if self._buffer else limits.keep_alive_timeout
            self.deadline = self.edge.after(wait)
        elif state == LINGER:
            self.deadline = self.edge.after(LINGER_SECONDS)
        else:
            self.deadline = NEVER

    def _expire_sending(self) -> None:
        """A slow reader may be slow; one that takes nothing for that long is cut."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self.deadline = self.edge.after(self.edge.limits.idle_timeout)
            return
        self.deadline = NEVER
        self.transport.abort()

    # Ends.

    def answer_and_close(
        self, status: int, text: str, fields: bytes = b"", *, to_head: bool = False
    ) -> None:
        """Answer without the application, and close once the client can have read it."""
        self.exchange = None
        self.transport.write(plain_response(status, text, fields, to_head=to_head))
        self._close(linger=True)

    def cut(self, *, close_delimited: bool) -> None:
        """End the connection so that the client sees an unfinished answer.

        Where only the close delimits the body, an orderly close would be its end.
        """
        self.exchange = None
        if not close_delimited:
            self._close()
            return
        if not self.transport.is_closing():
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._state = CLOSED
        self.deadline = NEVER
        self.transport.abort()

    def _close(self, *, linger: bool = False) -> None:
        """Close; lingering where a close with unread bytes would reset what we sent."""
        self._buffer = b""
        if linger and not self._eof and self.transport.can_write_eof():
            self._state = LINGER
            self.transport.write_eof()
            self.resume_reading()
        else:
            self._state = CLOSED
            self.transport.close()
        self._unsent = self.transport.get_write_buffer_size()
        self._rearm()

    def shutdown(self) -> None:
        """uvicorn drains: finish what runs, listen a moment longer to the idle.

        Closing an idle connection at once would cut the request that is just
        on its way.
        """
        self.edge.draining = True
        if self.exchange is not None and self.exchange.direct is not None:
            self.exchange.direct.hand_over()
        if self._state == HEAD:
            self.loop.call_later(self.edge.limits.drain_grace, self._close_idle)

    def _close_idle(self) -> None:
        if self._state == HEAD and not self._buffer:
            self._close()
