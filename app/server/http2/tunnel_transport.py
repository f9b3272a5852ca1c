"""A stream of HTTP/2 as the transport of a tunnel (RFC 8441): bytes both ways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from ...http2.engine import ErrorCode

if TYPE_CHECKING:
    from .http2_stream import Http2Stream


class TunnelTransport(asyncio.Transport):
    """What is written leaves as DATA, what comes as DATA is read; no half-close, as with TLS."""

    def __init__(self, stream: Http2Stream, below: asyncio.Transport) -> None:
        """`below` carries the whole connection."""
        super().__init__()
        self._stream = stream
        self._below = below
        self._protocol: asyncio.Protocol | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []  # came while nobody read
        self._reading = False
        self._closing = self._lost = False
        self._write_paused = False

    # asyncio.Transport, as far as tunnels use it.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        self._stream.send_body(bytes(data), True)
        if self._stream.full and not self._write_paused and self._protocol is not None:
            self._write_paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0 if self._lost else self._stream.queued()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """End the stream behind what was written."""
        if not self._closing:
            self._closing = True
            self._stream.send_body(b"", False)
            self._loop.call_soon(self.lost)

    def abort(self) -> None:
        """End the stream now."""
        if not self._lost:
            self._closing = True
            self._stream.reset_now(ErrorCode.CANCEL)
            self._loop.call_soon(self.lost)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.received(data)

    # What the client does.

    def received(self, data: bytes) -> None:
        """DATA came. Until somebody reads, it stays in the client's window."""
        if not self._reading or self._protocol is None:
            self._waiting.append(data)
            return
        self._protocol.data_received(data)
        if not self._waiting:
            self._stream.resume()

    def ended(self) -> None:
        """The client has ended its side."""
        if self._protocol is not None and not self._lost and not self._protocol.eof_received():
            self.close()

    def writable(self) -> None:
        """The client has caught up."""
        if self._write_paused and not self._lost and self._protocol is not None:
            self._write_paused = False
            self._protocol.resume_writing()

    def lost(self) -> None:
        """The stream is over."""
        if self._lost:
            return
        self._closing = self._lost = True
        self._waiting.clear()
        if self._protocol is not None:
            self._protocol.connection_lost(None)
