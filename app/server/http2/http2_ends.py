"""How an HTTP/2 connection ends: in order (RFC 9113 §6.8), or where a client breaks it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ...http2.engine import (
    ENGINE_FAULTS,
    EngineError,
    ErrorCode,
    Event,
    Flood,
    goaway_frame,
    make_server_engine,
)
from ..client_connection import ClientConnection
from .http2_stream import Http2Stream

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ..edge import Edge

logger = logging.getLogger(__name__)

_DRAIN = b"hipache\0"  # what the PING behind a shutdown notice carries

BEGIN, SERVE, LINGER, CLOSED = range(4)


class Http2Ends(ClientConnection):
    """The engine and its streams, and the end of all."""

    __slots__ = (
        "_blocked", "_early", "_leaving", "_notice", "_receiving", "_state", "engine",
        "last_stream", "streams",
    )  # fmt: skip

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(edge, config, server_state, app_state, _loop)
        limits = edge.limits
        self.engine = make_server_engine(
            limits.http2, head=limits.head, headers=limits.headers, tunnels=edge.tunnels
        )
        self.streams: dict[int, Http2Stream] = {}
        """Those that are open, by their numbers."""
        self.last_stream = 0
        self._state = BEGIN
        self._receiving: set[Http2Stream] = set()  # their body has not come whole
        self._blocked: set[Http2Stream] = set()  # the application waits for their client
        self._early: set[Http2Stream] = set()  # answered before their body was whole
        self._leaving = False
        self._notice: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSED
        self._end_streams()
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """The client sends nothing more, not even what the engine needs: it has gone."""
        return False

    # For the subclasses.

    def handle(self, events: list[Event]) -> None:
        """What the engine found in the client's bytes, or became of ours."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what the engine has and the client's windows allow."""
        raise NotImplementedError

    def flush_soon(self) -> None:
        """Send what the engine has, with all else that comes up in this turn of the loop."""
        raise NotImplementedError

    # In order.

    def turn_away(self, reason: str) -> None:
        """There are too many connections: go away before any stream was opened."""
        self._terminate(ErrorCode.NO_ERROR)

    def shutdown(self) -> None:
        """uvicorn drains: finish what runs, and what is on its way already."""
        self.edge.draining = True
        for stream in tuple(self.streams.values()):
            if stream.exchange.direct is not None:
                stream.exchange.direct.hand_over()
        self.go_away()

    def go_away(self) -> None:
        """Tell the client to open no more streams; those on their way are still served.

        The first GOAWAY names no last stream; the second one does, once the client has
        answered the PING behind the first, or after a while (RFC 9113 §6.8).
        """
        if self._leaving or self._state > SERVE:
            return
        self._leaving = True
        self.engine.send_shutdown_notice()
        self.engine.ping(_DRAIN)
        self._notice = self.loop.call_later(self.edge.limits.drain_grace, self.leave)
        self.flush_soon()

    def leave(self) -> None:
        """Name the last stream that is served. The connection closes behind it."""
        self._leaving = True
        if self._notice is not None:
            self._notice.cancel()
            self._notice = None
        if self._state <= SERVE:
            self.engine.send_goaway(ErrorCode.NO_ERROR)
            self.flush()

    def calm(self, why: str, text: bytes = b"") -> None:
        """The client costs more than it may: go away at once. `text` is for its eyes."""
        self.edge.http2_floods += 1
        logger.info("HTTP/2 client cut off client=%s cause=%r", self.peer.address, why)
        self._terminate(ErrorCode.ENHANCE_YOUR_CALM, text)

    def fail(self, error: Exception) -> None:
        """Neither the engine's fault nor ours may cost more than this connection."""
        if isinstance(error, Flood):
            self.calm(str(error))
            return
        code = ErrorCode.INTERNAL_ERROR
        if isinstance(error, EngineError) and not isinstance(error, ENGINE_FAULTS):
            code = ErrorCode.PROTOCOL_ERROR
            logger.debug("HTTP/2 broken client=%s cause=%s", self.peer.address, error)
        else:
            logger.error("HTTP/2 failed client=%s", self.peer.address, exc_info=error)
        self._terminate(code)

    def _terminate(self, code: ErrorCode, text: bytes = b"") -> None:
        """GOAWAY, written by hand since the engine may be of no use any more, and the end."""
        if self._state > SERVE:
            return
        if not self.transport.is_closing():
            self.transport.write(goaway_frame(self.last_stream, code, text))
        self.close(linger=True)

    def close(self, *, linger: bool = False) -> None:
        """Close behind what was written. `linger`: unread bytes may come, and would make of the
        close a reset that takes our last frame along."""
        if self._notice is not None:
            self._notice.cancel()
            self._notice = None
        if linger and self.transport.can_write_eof() and not self.transport.is_closing():
            self._state = LINGER
            self.transport.write_eof()
        else:
            self._state = CLOSED
            self.transport.close()
        self._end_streams()
        self._unsent = self.transport.get_write_buffer_size()
        self.rearm()

    def _end_streams(self) -> None:
        """The client of every stream has gone."""
        streams, self.streams = self.streams, {}
        self._blocked.clear()
        self._early.clear()
        self._receiving.clear()
        for stream in streams.values():
            stream.exchange.disconnect()
