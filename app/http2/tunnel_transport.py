"""A stream of HTTP/2 as the transport of a tunnel (RFC 8441): bytes both ways."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol, cast

from .engine import ErrorCode


class TunnelStream(Protocol):
    """The stream below: a client's, or one to a backend."""

    full: bool
    """The other side is behind: `TunnelTransport.writable` is called when it has caught up."""

    def send_body(self, data: bytes, more: bool) -> None:
        """Send bytes; without `more` our side ends behind them."""

    def queued(self) -> int:
        """Bytes that wait for the other side's window."""

    def resume(self) -> None:
        """All that has come was taken: as much again may come."""

    def reset_now(self, code: ErrorCode) -> None:
        """End the stream; what has not left yet is lost."""


class TunnelTransport(asyncio.Transport):
    """What is written leaves as DATA, what comes as DATA is read; no half-close, as with TLS."""

    def __init__(self, stream: TunnelStream, below: asyncio.BaseTransport) -> None:
        """`below` carries the whole connection."""
        super().__init__()
        self._stream = stream
        self._below = below
        self._protocol: asyncio.Protocol | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()  # came while nobody read
        self._reading = False
        self._ended = self._gone = False  # not told yet
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
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        """End the stream now."""
        if not self._lost:
            self._closing = True
            self._stream.reset_now(ErrorCode.CANCEL)
            self._loop.call_soon(self._lose)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        while self._waiting and self._reading and self._protocol is not None:
            self._read(self._waiting.popleft())
        if self._ended or self._gone:
            self._loop.call_soon(self._tell_end)

    # What the other side does.

    def received(self, data: bytes) -> None:
        """DATA came. Until somebody reads, it stays in the sender's window."""
        if self._closing:
            self._stream.resume()
        elif not self._reading or self._protocol is None:
            self._waiting.append(data)
        else:
            self._read(data)

    def ended(self) -> None:
        """The other side has ended its half."""
        self._ended = True
        self._tell_end()

    def writable(self) -> None:
        """The other side has caught up."""
        if self._write_paused and not self._lost and self._protocol is not None:
            self._write_paused = False
            self._protocol.resume_writing()

    def lost(self) -> None:
        """The stream is over."""
        self._gone = True
        self._tell_end()

    # Inside.

    def _read(self, data: bytes) -> None:
        cast(asyncio.Protocol, self._protocol).data_received(data)
        if not self._waiting:
            self._stream.resume()

    def _tell_end(self) -> None:
        """As from a socket: what came before the end is read before it."""
        if self._waiting or self._protocol is None or self._lost:
            return
        if self._ended and not self._closing:
            self._ended = False
            if not self._protocol.eof_received():
                self.close()
        if self._gone:
            self._lose()

    def _lose(self) -> None:
        if self._lost:
            return
        self._closing = self._lost = True
        self._waiting.clear()
        if self._protocol is not None:
            self._protocol.connection_lost(None)
