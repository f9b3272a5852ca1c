"""redis-py's connections, dialled like those to backends: by the one resolver of the loop.

And they end when they are told to: redis-py sends under `asyncio.wait_for`, which in Python 3.11
loses a cancellation that comes just when the command is sent (python/cpython#86296). A task group
cancels each task once, so the task that lost it went on for ever.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from ...system.resolver import loop_resolver
from ...upstream.dialling import first_to_connect


class _Cancellable(AbstractConnection):
    """What redis-py sends; a cancellation meanwhile is never lost."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send it. Raises what redis-py raises, and CancelledError."""
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > asked:
            await self.disconnect(nowait=True)  # nobody will read the answer
            raise asyncio.CancelledError


class _Dialled(_Cancellable, Connection):
    """What redis-py opens by name, opened by a socket that is connected."""

    _sock: socket.socket | None = None

    async def _connect(self) -> None:
        limit = self.socket_connect_timeout
        async with asyncio.timeout(limit):
            found = await loop_resolver().find(self.host, self.port, limit=limit or math.inf)
            self._sock = await first_to_connect(found)
            try:
                await super()._connect()  # type: ignore[no-untyped-call]
            except BaseException:
                self._sock.close()
                raise
            finally:
                self._sock = None

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = dict(super()._connection_arguments())
        del arguments["host"], arguments["port"]
        if arguments.get("ssl") is not None:
            arguments["server_hostname"] = self.host
        return arguments | {"sock": self._sock}


class UnixConnection(_Cancellable, UnixDomainSocketConnection):
    """A connection to a socket of this machine."""


class DialledConnection(_Dialled):
    """A TCP connection."""


class DialledSSLConnection(_Dialled, SSLConnection):
    """A TLS connection."""


class DialledSentinelConnection(_Dialled, SentinelManagedConnection):
    """A TCP connection to the server that Sentinel names."""


class DialledSentinelSSLConnection(_Dialled, SentinelManagedSSLConnection):
    """A TLS connection to the server that Sentinel names."""
