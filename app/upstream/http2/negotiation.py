"""Which version of HTTP a backend with TLS speaks: it chooses in the handshake (ALPN, RFC 7301)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...errors import UpstreamConnectTimeout, UpstreamUnreachable
from ...frontends.backends import ALPN
from ..backend_connection import BackendConnection
from ..backend_stream import NEVER
from ..dialling import Dialler
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


async def negotiated(
    dialler: Dialler,
    http2: Callable[[], MultiplexedConnection],
    http1: Callable[[], BackendConnection],
) -> Connection:
    """Connect by HTTP/2, or as a backend with TLS chooses; one of HTTP/2 has room for a request.

    Raises UpstreamUnreachable.
    """
    limit = dialler.limit
    due = None if limit == NEVER else asyncio.get_running_loop().time() + limit
    connection: Connection
    if dialler.origin[0] == ALPN:
        connection = (await dialler.connect(lambda: Negotiation(http2, http1))).chosen
    else:
        connection = await dialler.connect(http2)
    if isinstance(connection, BackendConnection):
        return connection
    try:
        async with asyncio.timeout_at(due):
            await connection.ready
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise UpstreamConnectTimeout("the backend does not speak HTTP/2") from None
        raise
    if not connection.accepts:
        raise UpstreamUnreachable("the backend closed the connection at once")
    if not connection.has_room:
        connection.close()
        raise UpstreamUnreachable("the backend takes no requests")
    return connection
