"""Tells a client that has only finished sending from one that has gone.

Both look the same: a FIN. A client that half-closes still wants its answer
(RFC 9112 §9.6). For a client that closed everything the backend works in vain;
its socket answers the next bytes from us with a reset. So after a while we send
an interim response, which every HTTP/1.1 client must skip (RFC 9110 §15.2), and
look whether the connection survives it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The interim response that even old clients know."""
LOOK_DELAYS = (0.05, 0.2, 1.0, 3.0)
"""Seconds between the looks: a reset takes a round trip."""
_TCP_CLOSE = 7  # linux/tcp.h; a FIN alone gives CLOSE_WAIT, 8


class HalfClose:
    """Watches one connection after its FIN, until `stop`; calls `gone` at most once.

    `probe` sends an interim response, if the client may get one.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        probe: Callable[[], None],
        gone: Callable[[], None],
        after: float,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._send_interim = probe
        self._gone = gone
        self._looks: Iterator[float] = iter(LOOK_DELAYS)
        self._handle = loop.call_later(after, self._probe)

    def stop(self) -> None:
        self._handle.cancel()

    def _probe(self) -> None:
        self._send_interim()
        self._handle = self._loop.call_later(next(self._looks), self._look)

    def _look(self) -> None:
        if is_reset(self._transport):
            self._gone()
        elif (delay := next(self._looks, None)) is not None:
            self._handle = self._loop.call_later(delay, self._look)


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the kernel has given up the connection; after a FIN the event loop does not say."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
