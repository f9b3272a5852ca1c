"""One connection on which Redis reports what changed (CLIENT TRACKING, broadcast by prefix).

redis-py's asyncio client has no client-side caching; this is the part of it that we need. The
protocol: https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, NoPermissionError, RedisError, ResponseError

from ...errors import StoreUnavailable
from .connections import Connections

logger = logging.getLogger(__name__)

PING_AFTER = 1.0
"""Seconds of silence after which the server is asked for a sign of life."""
PONG_WITHIN = 1.0
"""Together with PING_AFTER below the 3 s that a cache may be blind."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between attempts to connect: doubled, and spread so that not all workers try at once."""


CLOSED_BEFORE_REFUSED = 3
"""A server that answers reads, but closes every tracking connection so often in a row, or leaves
it without an answer, offers none: it may be a proxy that knows no HELLO."""
ASK_AGAIN = 60.0
"""Seconds until a server that offered no tracking is asked again; perhaps it was only full."""


class Declined(Exception):
    """There was a connection, but it did not come to tracking. `__cause__` says why."""


async def at_once() -> None:
    """Nothing has to be done before connecting."""


class TrackingListener(Protocol):
    """Hears about the connection itself: the part of StoreListener that a tracker needs."""

    def tracking(self) -> None:
        """Every change is reported from now on."""

    def lost(self, reason: str) -> None:
        """No change is reported."""

    def unreachable(self, reason: str) -> None:
        """The server does not answer."""

    def heard(self) -> None:
        """The server gave a sign of life."""

    def refused(self, reason: str) -> None:
        """The server never reports changes."""

    def partly(self, unseen: Callable[[str], bool]) -> None:
        """Changes are reported, but not those of the keys for which `unseen` is true."""


class Tracker:
    """Keeps one tracking connection open and passes on what it says."""

    def __init__(
        self,
        connections: Connections,
        prefixes: Sequence[str],
        *,
        on_keys: Callable[[list[bytes] | None], None],
        listener: TrackingListener,
        prepare: Callable[[], Awaitable[None]],
        question: Sequence[str],
        on_landmark: Callable[[bytes], None],
    ) -> None:
        """`on_keys` gets the changed keys, or None when all of them changed. `prepare` is awaited
        before every attempt to connect; it may raise StoreUnavailable.

        `on_landmark` gets the answer to `question`, GET or PING, at first and whenever `look` was
        called. It is asked on the tracking connection, so that all that was changed before it has
        been reported: an answer from another connection could be ahead of the pushes.
        """
        self._prepare = prepare
        self._question, self._on_landmark = question, on_landmark
        self._looking = False
        self._silence: asyncio.Timeout | None = None
        self._refused = False
        self.said_no = False
        """The server itself says that it offers no tracking: other workers hear the same."""
        self._closed = 0
        self._connections = connections
        self._prefixes = prefixes
        self._on_keys = on_keys
        self._listener = listener

    def look(self) -> None:
        """Ask the question again. May be called from `on_keys`."""
        self._looking = True
        if self._silence is not None:
            self._silence.reschedule(0.0)

    async def run(self) -> None:
        """Track until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._prepare()
                async with self._connected() as connection:
                    await self._look(connection)
                    pause, self._closed, self._refused = FIRST_PAUSE, 0, False
                    self._listener.tracking()
                    await self._listen(connection)
            except Declined as exc:
                await self._declined(exc.__cause__ or exc)
            except StoreUnavailable as exc:
                self._listener.unreachable(str(exc))
            except (OSError, RedisError) as exc:
                self._listener.lost(str(exc))
            await asyncio.sleep(pause * random.uniform(0.5, 1) if not self._refused else ASK_AGAIN)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _declined(self, cause: BaseException) -> None:
        """Tell apart a server that is in trouble and one that offers no tracking."""
        if not await self._answers():
            self._closed = 0
            self._listener.unreachable(str(cause))
            return
        self._closed = self._closed + 1
        if isinstance(cause, ResponseError) or self._closed >= CLOSED_BEFORE_REFUSED:
            if not self._refused:
                self._refused, self.said_no = True, isinstance(cause, ResponseError)
                self._listener.refused(str(cause))
        else:
            self._listener.lost(str(cause))

    async def _answers(self) -> bool:
        """Whether a read of ours gets its answer on an ordinary connection."""
        try:
            async with asyncio.timeout(PONG_WITHIN):
                (answer,) = await self._connections.ask([self._question])
        except (OSError, RedisError):
            return False
        return not isinstance(answer, ResponseError) or _only_of_this_key(answer)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AbstractConnection]:
        pool, connection = self._connections.pushing()
        try:
            try:
                await self._subscribe(connection)
            except (OSError, RedisError) as exc:
                raise Declined from exc
            yield connection
        finally:
            await connection.disconnect(nowait=True)
            await pool.disconnect()

    async def _subscribe(self, connection: AbstractConnection) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]
        parser: Any = connection._parser  # the only way to pushes in redis-py 8
        parser.set_invalidation_push_handler(self._pushed)
        prefixes = [part for prefix in self._prefixes for part in ("PREFIX", prefix)]
        await self._ask(connection, "CLIENT", "TRACKING", "ON", "BCAST", *prefixes)

    async def _listen(self, connection: AbstractConnection) -> None:
        moved = asyncio.create_task(self._connections.moved(connection), name="store primary")
        try:
            while not moved.done():
                if self._looking:
                    self._looking = False
                    await self._look(connection)
                if not await self._heard(connection) and not self._looking:
                    await self._ping(connection)
                self._listener.heard()
            moved.result()
            raise ConnectionError("Sentinel names another primary")
        finally:
            moved.cancel()

    async def _heard(self, connection: AbstractConnection) -> bool:
        """Whether it said something before the silence was too long, or `look` was called."""
        try:
            async with asyncio.timeout(PING_AFTER) as self._silence:
                await connection.read_response(
                    timeout=math.inf, push_request=True, disconnect_on_error=False
                )
        except TimeoutError:
            return False
        finally:
            self._silence = None
        return True

    async def _look(self, connection: AbstractConnection) -> None:
        try:
            value = await self._ask(connection, *self._question)
        except ResponseError as exc:
            if not _only_of_this_key(exc):
                # MASTERDOWN, LOADING: it takes connections, but tells nothing. One line says so.
                self._listener.unreachable(str(exc))
                raise
            logger.info("landmark unreadable cause=%s", exc)
        else:
            self._on_landmark(value)

    async def _ping(self, connection: AbstractConnection) -> None:
        try:
            await self._ask(connection, "PING")
        except (OSError, RedisError) as exc:
            self._listener.unreachable(str(exc))
            raise

    async def _ask(self, connection: AbstractConnection, *command: str) -> bytes:
        """Send a command and read past pushes to its answer."""
        await connection.send_command(*command, check_health=False)
        try:
            async with asyncio.timeout(PONG_WITHIN):
                # Infinite, since redis-py answers None both to silence and to an absent key.
                answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
        except TimeoutError:
            raise ConnectionError(f"no answer to {command[0]} in {PONG_WITHIN:g} s") from None
        return b"" if answer is None else bytes(answer)

    async def _pushed(self, message: list[Any]) -> bool:
        self._on_keys(message[1])
        # redis-py returns this from read_response, where None would mean silence.
        return True


def _only_of_this_key(error: ResponseError) -> bool:
    """Whether other keys may be read all the same: an ACL may keep us from this one."""
    return isinstance(error, NoPermissionError) or str(error).startswith("WRONGTYPE")
