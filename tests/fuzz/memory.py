"""A network of memory, and a clock that jumps: an event loop on which hours take no time.

Protocols are the real ones, only the wire between them is not. A connection behaves
as TCP does: bytes in order, half-closes, resets, back pressure.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable
from typing import Any

HIGH, LOW = 65536, 16384
HERE = ("127.0.0.1", 80)
BACKEND = "unix:/in/memory"


class Jumping(selectors.DefaultSelector):
    """Waits for nothing: where there is nothing to do, the time is now later."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("everybody waits for somebody else")
            self.now += max(0.0, timeout)
        return found


class MemoryLoop(asyncio.SelectorEventLoop):
    """`dialled` makes the protocol at the other end of each connection to a backend.

    Backends have the URL BACKEND: for a unix socket the proxy makes no socket of its own.
    """

    dialled: Callable[[], asyncio.Protocol]

    def __init__(self) -> None:
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    async def create_unix_connection(self, factory: Any, *_: Any, **__: Any) -> Any:
        near, _ = pair(self, factory(), self.dialled())
        return near, near.get_protocol()

    async def settle(self) -> None:
        """Until everybody waits, without a moment passing."""
        while self._ready:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)


class Socket:
    """What of a socket is asked for: its family and number, and how it is to be closed."""

    family = socket.AF_UNIX
    _quiet = socket.socketpair()
    _quiet[0].setblocking(False)  # as every socket of an event loop

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.resets = False

    def getpeername(self) -> tuple[str, int]:
        return self.address

    def getsockname(self) -> tuple[str, int]:
        return HERE

    def fileno(self) -> int:
        """Of a socket on which nothing ever comes."""
        return self._quiet[0].fileno()

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        self.resets = self.resets or (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER)


class Transport(asyncio.Transport):
    """One end of a connection."""

    peer: Transport

    def __init__(self, loop: MemoryLoop, protocol: Any, address: tuple[str, int]) -> None:
        sock = Socket(address)
        super().__init__({"socket": sock, "peername": address, "sockname": HERE})
        self.socket = sock
        self.loop = loop
        self.protocol = protocol
        self.unsent: list[bytes] = []
        self.size = 0
        self.paused = self.slow = self.closing = self.lost = False
        self.eof = False  # to be sent behind what is unsent
        self.eof_sent = False
        self.pumping = False

    # What protocols call.

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.size

    def write(self, data: Any) -> None:
        if self.eof or self.lost or not data:
            return
        self.unsent.append(bytes(data))
        self.size += len(data)
        if self.size > HIGH and not self.slow:
            self.slow = True
            self.protocol.pause_writing()
        self._pump_soon()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        self.eof = True
        self._pump_soon()

    def close(self) -> None:
        self.closing = self.eof = True
        self._pump_soon()

    def abort(self) -> None:
        if self.lost:
            return
        self.closing = self.eof = True
        self.unsent.clear()
        self.size = 0
        if self.socket.resets and not self.peer.lost:
            self.loop.call_soon(self.peer.lose, ConnectionResetError())
        self._pump_soon()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.peer._pump_soon()

    def is_reading(self) -> bool:
        return not self.paused

    # The wire.

    def _pump_soon(self) -> None:
        if not self.pumping:
            self.pumping = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pumping = False
        peer = self.peer
        if self.unsent and peer.lost:
            self.lose(ConnectionResetError())
            return
        while self.unsent and not peer.paused and not peer.closing:
            data = self.unsent.pop(0)
            self.size -= len(data)
            peer.protocol.data_received(data)
        if self.unsent and peer.closing:
            self.unsent.clear()  # the kernel takes it, nobody reads it
            self.size = 0
        if self.slow and self.size <= LOW:
            self.slow = False
            self.protocol.resume_writing()
        if self.eof and not self.unsent:
            self._end()

    def _end(self) -> None:
        peer = self.peer
        if not self.eof_sent and not peer.paused:
            self.eof_sent = True
            if not peer.closing and not peer.protocol.eof_received():
                peer.close()
        if self.closing:
            self.lose(None)

    def lose(self, exc: Exception | None) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.unsent.clear()
            self.protocol.connection_lost(exc)
            self.peer._pump_soon()


def pair(
    loop: MemoryLoop, near: Any, far: Any, address: tuple[str, int] = ("192.0.2.1", 40000)
) -> tuple[Transport, Transport]:
    """A connection from `far` to `near`, or the other way round."""
    a, b = Transport(loop, near, address), Transport(loop, far, ("192.0.2.2", 80))
    a.peer, b.peer = b, a
    near.connection_made(a)
    far.connection_made(b)
    return a, b
