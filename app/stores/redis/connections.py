"""Connections to Redis and Valkey: redis-py with every default that matters set by hand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from .cluster.slot_map import Argument, encoded
from .dialled import (
    DialledConnection,
    DialledSentinelConnection,
    DialledSentinelSSLConnection,
    DialledSSLConnection,
    UnixConnection,
)
from .url import SENTINEL_SCHEMES, RedisURL

MAX_STORE_CONNECTIONS = 64
"""Per worker and role; more than all its parts use at once, for redis-py fails beyond it."""
ASK_SENTINEL_EVERY = 0.5
"""Seconds between two questions which server is the primary."""


class StoreLink(Protocol):
    """What sends commands to one server, or to the right ones of several."""

    @property
    def client(self) -> Redis:
        """redis-py's commands, sent in the same way."""

    async def ask(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """The raw answers to these commands; an error reply is one of them.

        Commands may be sent twice. Raises RedisError, OSError.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class Connections:
    """The pool of one URL, and single connections outside it."""

    def __init__(
        self, url: RedisURL, *, timeout: float | None, retries: int = 1, bounded: bool = False
    ) -> None:
        """`timeout` in seconds (None: no limit), for connecting and for each answer. With
        `bounded` the caller limits the answers: a third of a read's cost is redis-py's timers.

        A pooled connection that the server closed meanwhile is noticed only when it is used:
        `retries` covers that, but only for commands that may be sent twice.
        """
        self._url = url
        self._timeout = timeout
        self._sentinel = _sentinel(url, timeout) if url.scheme in SENTINEL_SCHEMES else None
        # RESP2: every server and every proxy in front of one speaks it.
        self._pool = self._make_pool(protocol=2, retries=retries, patient=bounded)
        self.client = Redis(connection_pool=self._pool)

    def _make_pool(self, *, protocol: int, retries: int, patient: bool = False) -> ConnectionPool:
        url = self._url
        options: dict[str, Any] = {
            "db": url.database,
            "username": url.username,
            "password": url.password,
            "protocol": protocol,
            "socket_timeout": None if patient else self._timeout,
            "socket_connect_timeout": self._timeout,
            "retry": Retry(NoBackoff(), retries),
            # What an ACL for a proxy would not allow: CLIENT SETINFO, CLIENT MAINT_NOTIFICATIONS.
            "driver_info": None,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        if url.scheme == "unix":
            options |= {"path": url.path, "connection_class": UnixConnection}
            return ConnectionPool(max_connections=MAX_STORE_CONNECTIONS, **options)
        secure = url.scheme.startswith("rediss")
        options |= {"socket_keepalive": True, **(_tls_options(url) if secure else {})}
        if self._sentinel is not None:
            kind = DialledSentinelSSLConnection if secure else DialledSentinelConnection
            return SentinelConnectionPool(  # type: ignore[no-untyped-call]
                url.service, self._sentinel, connection_class=kind, **options
            )
        host, port = url.addresses[0]
        options |= {"host": host, "port": port}
        options |= {"connection_class": DialledSSLConnection if secure else DialledConnection}
        return ConnectionPool(max_connections=MAX_STORE_CONNECTIONS, **options)

    async def ask(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """The raw answers to these commands, in one round trip; an error reply is one of them.

        A third of the CPU time of redis-py's pipeline, and every new host pays for one. Commands
        may be sent twice: a kept connection that the server closed shows it only now.
        """
        packed = b"".join(map(_packed, commands))
        try:
            return await self._ask(packed, len(commands))
        except ConnectionError:
            return await self._ask(packed, len(commands))

    async def ask_once(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """As `ask`, for commands that must not be sent twice."""
        return await self._ask(b"".join(map(_packed, commands)), len(commands))

    async def _ask(self, packed: bytes, count: int) -> list[Any]:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(packed, check_health=False)
            answers: list[Any] = []
            for _ in range(count):
                try:
                    answers.append(await connection.read_response())
                except ResponseError as exc:
                    answers.append(exc)
            return answers
        finally:
            await self._pool.release(connection)

    def pushing(self) -> tuple[ConnectionPool, AbstractConnection]:
        """A new RESP3 connection of its own for pushes, and the pool to keep alive with it."""
        pool = self._make_pool(protocol=3, retries=0)
        return pool, pool.make_connection()  # type: ignore[no-untyped-call]

    async def moved(self, connection: Any) -> None:
        """Wait until Sentinel names another primary than that of `connection`; for ever without
        Sentinel.

        After a failover by hand the old primary lives on, takes commands, and learns its new
        role only seconds later. A connection that stays with it sees no change until then.
        """
        if self._sentinel is None:
            await asyncio.get_running_loop().create_future()
        pool: Any = self._pool
        primary = here = connection.host, connection.port
        while primary == here:
            await asyncio.sleep(ASK_SENTINEL_EVERY)
            with suppress(RedisError, OSError):  # a Sentinel that is away moves nothing
                primary = await pool.get_master_address()  # if new, idle connections are closed
        for used in pool._in_use_connections:
            used.mark_for_reconnect()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.disconnect()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def _packed(command: Sequence[Argument]) -> bytes:
    """A command as Redis reads it (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        raw = encoded(argument)
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def _sentinel(url: RedisURL, timeout: float | None) -> Sentinel:
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    secure = url.scheme == "rediss+sentinel"
    kind = DialledSSLConnection if secure else DialledConnection
    if secure:
        options |= _tls_options(url)
    pools = [
        ConnectionPool(connection_class=kind, host=host, port=port, **options)
        for host, port in url.addresses
    ]
    sentinel = Sentinel([])  # type: ignore[no-untyped-call]
    sentinel.sentinels = [Redis.from_pool(pool) for pool in pools]
    return sentinel


def _tls_options(url: RedisURL) -> dict[str, Any]:
    options = dict(url.tls)
    verify = options.get("verify", "true") == "true"
    return {
        "ssl_ca_certs": options.get("cafile"),
        "ssl_certfile": options.get("certfile"),
        "ssl_keyfile": options.get("keyfile"),
        "ssl_cert_reqs": ssl.CERT_REQUIRED if verify else ssl.CERT_NONE,
        "ssl_check_hostname": verify,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }
