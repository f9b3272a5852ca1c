"""Requests over HTTP/1.1 that have a connection of their own: no pool is made for them, nor asked.

A check in an open connection would say nothing of whether another can be made. And it costs half
as much without a pool, which would have to be made for it.
"""

from __future__ import annotations

import asyncio

from ..errors import UpstreamUnreachable
from ..fields.headers import RawHeaders
from ..routing import Backend
from .answer import Answer
from .backend_connection import BackendConnection
from .backend_stream import NEVER, BackendStream, PooledConnection
from .destinations import Destinations
from .dialling import connect
from .request_framing import check_head
from .tls_contexts import ContextSource


class SingleRequests:
    """The Owner of their connections."""

    tcp_timeout = response_timeout = idle_timeout = NEVER  # the asker bounds the whole
    max_age = 0.0

    def __init__(self, limit: float, tls: ContextSource, destinations: Destinations) -> None:
        """`limit`: seconds that connecting may take."""
        self._limit, self._tls, self._destinations = limit, tls, destinations

    async def ask(
        self, backend: Backend, method: bytes, target: bytes, headers: RawHeaders
    ) -> Answer:
        """Send a request without a body; returns when the final head of its answer is there.

        Only connecting has a limit: bound the whole, and the body that follows. Raises
        UpstreamError.
        """
        check_head(target, headers)
        connection = await connect(
            backend.origin, self._new_connection, self._tls, self._limit, self._destinations
        )
        if not connection.is_available():
            raise UpstreamUnreachable("the backend closed the connection at once")
        answer = Answer(connection)
        try:
            connection.begin(answer, method, target, headers)
        except BaseException:
            connection.abort()
            raise
        await answer.wait_for_head()
        return answer

    def _new_connection(self) -> BackendConnection:
        return BackendConnection(self, asyncio.get_running_loop())

    # -- backend_stream.Owner

    def on_available(self, stream: BackendStream) -> None:
        stream.abort()

    def on_closed(self, connection: PooledConnection) -> None:
        """Nobody keeps it."""
