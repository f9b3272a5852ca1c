"""A client's connection below HTTP: counted, timed and paused."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

from .edge import NO_DEADLINE
from .peer import HostPort, Peer, is_gone, peer_of

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from .edge import Edge

LINGER_SECONDS = 2.0
"""How long we listen to a refused sender, so that it can read why (RFC 9112 §9.6)."""
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class ClientConnection(asyncio.Protocol):
    """Holds the transport and the deadline; the subclass knows the protocol.

    It keeps uvicorn's contract: the constructor, `shutdown`, and membership in the
    server's `connections`.
    """

    __slots__ = (
        "_unsent",
        "app",
        "app_state",
        "config",
        "deadline",
        "edge",
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
        self.deadline = NO_DEADLINE
        self.read_paused = False
        self.write_paused = False
        self._unsent = 0  # bytes in the transport's buffer at the last look
        self.origin: tuple[HostPort, HostPort] | None = None
        """Client and server as a trusted balancer names them; set before `connection_made`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = transport  # type: ignore[assignment]
        self.peer = peer_of(transport, self.origin)
        if self.peer.tls:
            self.edge.handshakes += 1
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        over = self.edge.admit(self, self.peer.address, self.loop)
        self.deadline = self.edge.after(self.edge.limits.header_timeout)
        if self.peer.client is None and is_gone(transport):
            self.transport.abort()  # access rules could not judge it without an address
        elif over is not None:
            if self.edge.flooded:
                self.transport.abort()
            else:
                self.turn_away(over)
        elif self.edge.draining or self.edge.stopping():
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline = NO_DEADLINE
        self.server_state.connections.discard(self)
        self.release()

    def release(self) -> None:
        """Stop counting it."""
        self.edge.release(self, self.peer.address)

    # For the subclass.

    def turn_away(self, reason: str) -> None:
        """There are too many connections: answer so, and close."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """uvicorn drains: finish what runs, take nothing new."""
        raise NotImplementedError

    def expire(self) -> None:
        """The sweep found the deadline over."""
        raise NotImplementedError

    def rearm(self) -> None:
        """Set the deadline of the present state; there is one only while *we* wait."""
        raise NotImplementedError

    # Pace.

    def pause_writing(self) -> None:
        self.write_paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self.rearm()

    def resume_writing(self) -> None:
        self.write_paused = False
        self.rearm()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
            self.rearm()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
            self.rearm()

    def brake(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        if not (self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    # Ends.

    def expire_sending(self) -> None:
        """The client takes our bytes: a slow one gets more time, one that takes none is cut."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self.deadline = self.edge.after(self.edge.limits.idle_timeout)
            return
        self.deadline = NO_DEADLINE
        self.transport.abort()

    def reset(self) -> None:
        """End the connection with a reset, which no client takes for an orderly end."""
        if not self.transport.is_closing():
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.deadline = NO_DEADLINE
        self.transport.abort()
