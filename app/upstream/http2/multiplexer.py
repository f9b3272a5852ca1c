"""The connections of HTTP/2 to one backend: requests share them, and share their making."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...errors import UpstreamUnreachable
from ..backend_connection import BackendConnection
from ..backend_stream import Owner, PooledConnection
from ..limits import PoolLimits
from .backend_request import BackendRequest
from .multiplexed_connection import MultiplexedConnection
from .negotiation import Connection

Dial = Callable[[Callable[[], MultiplexedConnection]], Awaitable[Connection]]
"""Gets what makes a connection of HTTP/2, if it becomes one."""


class Multiplexer:
    """Finds or makes a place for each request: the pool counts and keeps those."""

    def __init__(
        self,
        owner: Owner,
        dial: Dial,
        limits: PoolLimits,
    ) -> None:
        """A connection has places for `limits.max_sockets` requests, if the backend takes them."""
        self._owner = owner
        self._dial = dial
        self._most, self._ping = limits.max_sockets, limits.ping
        self._loop = asyncio.get_running_loop()
        self._connections: list[MultiplexedConnection] = []
        self._dialling: asyncio.Task[Connection] | None = None
        self._waiting = 0
        self._apart = False
        """The backend chose HTTP/1.1 the last time: each request makes a connection of its own."""
        self._spare: BackendConnection | None = None
        """The first one of HTTP/1.1, until one of those who wait takes it."""

    async def place(self) -> PooledConnection:
        """A place on a connection that has room, or on a new one, or one of HTTP/1.1.

        Raises UpstreamUnreachable.
        """
        self._waiting += 1
        connected = False
        try:
            while True:
                for connection in self._connections:
                    if connection.has_room:
                        place = connection.add_place(BackendRequest)
                        place.connect_time = 0.0 if connected else None
                        return place
                if self._spare is not None:
                    spare, self._spare = self._spare, None
                    return spare
                if self._apart:
                    made = await self._connect()
                    if isinstance(made, BackendConnection):
                        return made
                    connected = True
                    continue
                made = await self._share()
                connected = True
                if isinstance(made, MultiplexedConnection) and not made.accepts:
                    # Else others may have taken all its places.
                    raise UpstreamUnreachable("the backend closed the connection at once")
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._close_unused()

    def sweep(self, now: float) -> None:
        """Look whether silent backends are there."""
        for connection in tuple(self._connections):
            connection.sweep(now)

    def close(self) -> None:
        """Close every connection."""
        if self._dialling is not None:
            self._dialling.cancel()
        for connection in tuple(self._connections):
            connection.close()
        self._close_spare()

    async def _share(self) -> Connection:
        """The connection that is being made for all who wait."""
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._connect(), name="connect by HTTP/2")
            self._dialling.add_done_callback(self._dialled)
        return await asyncio.shield(self._dialling)

    def _dialled(self, task: asyncio.Task[Connection]) -> None:
        self._dialling = None
        if task.cancelled() or task.exception() is not None:
            return  # those who wait have it, if there are any left
        if isinstance(made := task.result(), BackendConnection):
            self._spare = made
            if not self._waiting:
                self._close_spare()

    def _close_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    def _close_unused(self) -> None:
        """Nobody waits any more: a connection that was made for those who left is not needed."""
        if self._dialling is not None:
            self._dialling.cancel()
        for connection in tuple(self._connections):
            if connection.is_unused:
                connection.close()
        self._close_spare()

    async def _connect(self) -> Connection:
        """A connection that has room for a request at least."""
        connection = await self._dial(self._new_connection)
        self._apart = isinstance(connection, BackendConnection)
        if isinstance(connection, MultiplexedConnection):
            self._connections.append(connection)
        return connection

    def _new_connection(self) -> MultiplexedConnection:
        return MultiplexedConnection(self._owner, self._loop, self._most, self._closed, self._ping)

    def _closed(self, connection: MultiplexedConnection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
