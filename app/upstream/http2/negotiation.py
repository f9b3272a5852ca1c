"""Which version of HTTP a backend with TLS speaks: it chooses in the handshake (ALPN, RFC 7301)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...frontends.backends import ALPN
from ..backend_connection import BackendConnection
from .multiplexed_connection import MultiplexedConnection

Connection = MultiplexedConnection | BackendConnection
"""One of HTTP/2, or one of HTTP/1.1."""


class Negotiation(asyncio.Protocol):
    """Stands in for a connection until the handshake is done: `chosen` goes on with it."""

    chosen: Connection

    def __init__(
        self,
        http2: Callable[[], MultiplexedConnection],
        http1: Callable[[], BackendConnection],
    ) -> None:
        """What makes the connection, by the version that the backend chooses."""
        self._http2 = http2
        self._http1 = http1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        chose = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self.chosen = self._http2() if chose == ALPN else self._http1()
        transport.set_protocol(self.chosen)
        self.chosen.connection_made(transport)
