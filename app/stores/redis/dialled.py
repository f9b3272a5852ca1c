"""redis-py's connections, dialled like those to backends: by the one resolver of the loop."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Mapping
from typing import Any

from redis.asyncio import SSLConnection
from redis.asyncio.connection import Connection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from ...system.resolver import loop_resolver
from ...upstream.dialling import first_to_connect


class _Dialled(Connection):
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


class DialledConnection(_Dialled):
    """A TCP connection."""


class DialledSSLConnection(_Dialled, SSLConnection):
    """A TLS connection."""


class DialledSentinelConnection(_Dialled, SentinelManagedConnection):
    """A TCP connection to the server that Sentinel names."""


class DialledSentinelSSLConnection(_Dialled, SentinelManagedSSLConnection):
    """A TLS connection to the server that Sentinel names."""
