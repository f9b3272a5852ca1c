"""TCP keep-alive: the kernel finds a peer that vanished without a word."""

from __future__ import annotations

import asyncio
import socket

# A peer that vanished without a word is found after 60 + 6 * 10 seconds.
_OPTIONS = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Probe the peer of an idle connection; harmless on unix sockets."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
