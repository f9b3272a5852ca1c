"""A WebSocket on a stream of HTTP/2 to a backend (RFC 8441)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.utils import accept_key

from ...errors import UpstreamReset
from ...fields.headers import RawHeaders, field
from ...fields.trailers import Trailers
from ...http2.engine import EngineEnded, ErrorCode, StreamGone
from ...http2.tunnel_transport import TunnelTransport
from ..backend_connection import BackendConnection
from ..backend_stream import NEVER, Owner, Receiver
from ..dialling import Dialler
from .backend_request import HELD, BackendRequest
from .multiplexed_connection import MultiplexedConnection
from .negotiation import negotiated
from .request_section import web_socket_section

LINGER = 1.0
"""Seconds without progress that a backend has to take our last bytes, and to end its side."""
_OF_THE_HANDSHAKE = frozenset({b"sec-websocket-accept", b"content-length"})


class BackendTunnel(BackendRequest):
    """One handshake that looks like one of HTTP/1.1; after a 2xx its stream is a transport."""

    section = staticmethod(web_socket_section)
    __slots__ = ("_key", "_left", "_over", "_transport", "full")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._transport: TunnelTransport | None = None
        self._key = ""
        self._over = False  # our side has ended
        self._left = 0  # bytes that had not left when the backend was looked at
        self.full = False

    # -- backend_stream.BackendStream

    def begin(
        self, receiver: Receiver, method: bytes, target: bytes, headers: RawHeaders,
        body: bytes | None = None, *,
        upload: bool = False, chunked: bool = False, trailers: Trailers = (),
    ) -> None:  # fmt: skip
        """The handshake, with the fields of one over HTTP/1.1."""
        self._key = (field(headers, b"sec-websocket-key") or b"").decode("ascii")
        super().begin(receiver, b"CONNECT", target, headers, upload=True)
        self.deadline = self._clock() + self._owner.response_timeout

    def release(self) -> asyncio.Transport:
        """The stream as a transport with reading paused; it has been told of a 101."""
        assert self._transport is not None
        return self._transport

    # -- what the connection tells

    def deliver(self) -> None:
        if self._transport is None and not self._opens():
            super().deliver()
            if self.ended:
                self.send_body(b"", False)
            return
        transport = self._transport
        assert transport is not None
        body, self._body = b"".join(self._body), []
        if body:
            transport.received(body)
        if self.ended:
            transport.ended()
        if not self.number:
            transport.lost()
            self.close()

    def wake_if_drained(self) -> None:
        super().wake_if_drained()
        if self.full and self.queued() <= HELD // 2:
            self.full = False
            self._connection.waiting.discard(self)
            if self._transport is not None:
                self._transport.writable()

    # -- tunnel_transport.TunnelStream

    def send_body(self, data: bytes, more: bool) -> None:
        """Send bytes; without `more` our side ends behind them."""
        self.write((data,))
        self.full = self.queued() > HELD
        if self.full:
            self._connection.waiting.add(self)
        if not more and self.number and not self._over:
            self._over = True
            with suppress(StreamGone, EngineEnded):
                self._connection.engine.end_stream(self.number)
            self._connection.flush_soon()
            self._left = self.queued()
            self.deadline = self._clock() + LINGER

    def resume(self) -> None:
        if self._transport is None:
            super().resume()
        else:
            self._give_back()

    def reset_now(self, code: ErrorCode) -> None:
        """End the stream; what has not left yet is lost."""
        self.abort()

    def expire(self, now: float) -> None:
        """No answer to the handshake in time; or the end takes too long."""
        if not self._over:
            super().expire(now)
        elif (queued := self.queued()) < self._left:
            self._left, self.deadline = queued, now + LINGER
        else:
            self.close()

    # -- inside

    def _opens(self) -> bool:
        """Whether a 2xx has come: told as the 101 that means the same over HTTP/1.1."""
        head, receiver, below = self._head, self._receiver, self._connection.below
        if head is None or receiver is None or not 200 <= head[0] < 300:
            return False
        if below is None:  # it is lost, too
            self._error = self._error or UpstreamReset()
            self._head = None
            return False
        self._head, self._receiver, self.begun = None, None, True
        self._transport = TunnelTransport(self, below)
        self.deadline = NEVER
        fields = [field for field in head[1] if field[0] not in _OF_THE_HANDSHAKE]
        receiver.on_head(101, b"", [
            *fields, (b"connection", b"Upgrade"), (b"upgrade", b"websocket"),
            (b"sec-websocket-accept", accept_key(self._key).encode("ascii")),
        ])  # fmt: skip
        return True


async def open_tunnel(
    dialler: Dialler, owner: Owner, http1: Callable[[], BackendConnection]
) -> BackendTunnel | BackendConnection | None:
    """Room for a WebSocket on a connection of its own, as over HTTP/1.1: what becomes of it, or of
    another one, is nothing to either.

    It is one of `http1` where a backend with TLS chooses that; None: the backend speaks HTTP/2, and
    takes no WebSockets over it. Raises UpstreamUnreachable.
    """
    loop = asyncio.get_running_loop()
    made = await negotiated(
        dialler, lambda: MultiplexedConnection(owner, loop, 1, lambda _: None, NEVER), http1
    )
    if isinstance(made, BackendConnection):
        return made
    if not made.tunnels:
        made.close()
        return None
    return made.add_place(BackendTunnel)
