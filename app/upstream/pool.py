"""The connections to one origin: at most so many, the last one used reused first."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from ..errors import UpstreamBusy, UpstreamUnreachable
from .connection import NEVER, BackendConnection
from .destinations import Destinations
from .dialling import Origin, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Per origin and worker. Times are seconds, NEVER where there is no limit."""

    max_sockets: int = 100
    connect: float = 3.0
    response: float = 30.0
    tcp: float = 30.0
    queue: float = 5.0
    queued: int = 1000  # 0: as many as come
    idle: float = 60.0
    age: float = NEVER
    keep_alive: bool = True

    @property
    def step(self) -> float:
        """Seconds between two sweeps: an eighth of the shortest limit that a sweep enforces."""
        return min(max(min(self.response, self.tcp, self.queue, self.idle) / 8, 0.01), 1.0)


class Waiter(asyncio.Future["BackendConnection | None"]):
    """A request that waits in the queue since `since`; the pool gives it up at `due` (loop time).

    Its result is a free connection, or None for the permission to make one.
    `Pool.wait` or `Pool.dequeue` must follow, whatever becomes of it.
    """

    def __init__(self, since: float, due: float) -> None:
        super().__init__()
        self.since = since
        self.due = due


class Pool:
    """The connections to one origin.

    Never more than `limits.max_sockets`, those that are being made included;
    who finds none free waits in order. `on_unused` is called when neither a
    connection nor anybody waiting is left, `on_waited` with the seconds of a wait.
    """

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        tls: Callable[[], ssl.SSLContext],
        on_unused: Callable[[Origin], None],
        destinations: Destinations | None = None,
    ) -> None:
        self._destinations = destinations or Destinations()
        self.origin = origin
        self.limits = limits
        self.tcp_timeout = limits.tcp
        self.response_timeout = limits.response
        self._age = limits.age if limits.keep_alive else 0.0
        self._idle_timeout = limits.idle
        self._tls = tls
        self._on_unused = on_unused
        self.on_waited: Callable[[float], None] = lambda seconds: None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._idle: deque[BackendConnection] = deque()  # the last one used is the last
        self._open: set[BackendConnection] = set()
        self._connecting = 0
        self._promised = 0  # connections given to a waiter whose asker has not come yet
        self._queue: deque[Waiter] = deque()

    @property
    def queued(self) -> int:
        """How many wait for a connection."""
        return len(self._queue)

    @property
    def connections(self) -> int:
        """How many are open or being made."""
        return len(self._open) + self._connecting

    def take(self, *, checked: bool) -> BackendConnection | None:
        """A kept connection, the last one used first, or None.

        With `checked` the kernel is asked too whether the backend has closed it.
        """
        while self._idle:
            connection = self._idle.pop()
            if _fit(connection, checked):
                return connection
            connection.abort()
        return None

    def queue(self) -> Waiter | None:
        """A place in the queue, where nothing is left but to wait.

        Raises UpstreamBusy where `limits.queued` wait already.
        """
        if not self._full():
            return None
        if 0 < self.limits.queued <= len(self._queue):
            raise UpstreamBusy("too many wait for the backend")
        now = self._clock()
        waiter = Waiter(now, now + self.limits.queue)
        self._queue.append(waiter)
        return waiter

    def claim(self, waiter: Waiter, *, checked: bool) -> BackendConnection | None:
        """The connection that `waiter` was given, if it was one that can be used; else `wait`."""
        connection = waiter.result() if waiter.exception() is None else None
        if connection is None or not _fit(connection, checked):
            return None
        self._promised -= 1
        self._waited(waiter)
        return connection

    async def wait(self, waiter: Waiter | None, *, checked: bool) -> BackendConnection:
        """A new connection, or the next one that becomes free; `waiter` is the asker's, if any.

        Raises UpstreamUnreachable, and UpstreamBusy after `limits.queue` seconds or, where
        `limits.queued` wait already, at once.
        """
        waiter = waiter or self.queue()
        if waiter is None:
            self._connecting += 1
            return await self._connect()
        try:
            connection = await self._served(waiter, checked)
        finally:
            self._waited(waiter)
        return connection or await self._connect()

    def dequeue(self, waiter: Waiter) -> None:
        """Give `waiter` up; what it was given meanwhile goes to the next."""
        waiter.cancel()
        if waiter.cancelled():
            if waiter in self._queue:  # else its turn came just now, and went to the next
                self._queue.remove(waiter)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._connecting -= 1
            else:
                self._promised -= 1
                if connection.usable:
                    self._offer(connection)
            self._make_room()

    def drop_closed(self) -> None:
        """Where one kept connection was found closed, others may be: ask the kernel for each."""
        for connection in tuple(self._idle):
            if not connection.usable or connection.hung_up():
                self._idle.remove(connection)
                connection.abort()

    def sweep(self, now: float) -> None:
        """Enforce what is due: idle connections, silent backends, the queue's patience."""
        for connection in tuple(self._open):
            if connection.deadline <= now:
                connection.expire(now)
        while self._queue and self._queue[0].due <= now:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(UpstreamBusy())

    def close(self) -> None:
        """Close every connection, send everybody away who waits."""
        for connection in tuple(self._open):
            connection.abort()
        for waiter in self._queue:
            if not waiter.done():
                waiter.set_exception(UpstreamUnreachable("the proxy is stopping"))
        self._queue.clear()

    # -- connection.Owner

    def on_free(self, connection: BackendConnection) -> None:
        now = self._clock()
        if now - connection.born >= self._age:
            connection.abort()
            return
        connection.deadline = now + self._idle_timeout
        if self._queue:
            self._offer(connection)
        else:
            self._idle.append(connection)

    def on_closed(self, connection: BackendConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._make_room()

    # -- inside

    def _full(self) -> bool:
        return self.connections >= self.limits.max_sockets

    def _offer(self, connection: BackendConnection) -> None:
        """To the first in the queue, else keep it."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                self._promised += 1
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def _make_room(self) -> None:
        """A place has become free: the first in the queue may connect."""
        while self._queue and not self._full():
            waiter = self._queue.popleft()
            if not waiter.done():
                self._connecting += 1
                waiter.set_result(None)
        if not (self._open or self._connecting or self._queue or self._promised):
            self._on_unused(self.origin)

    async def _served(self, waiter: Waiter, checked: bool) -> BackendConnection | None:
        """A connection that can be used, or None: may connect, and is counted already."""
        while (connection := await self._turn(waiter)) is not None:
            self._promised -= 1
            if _fit(connection, checked):
                break
            connection.abort()
            # One that was lost meanwhile has made room already, and does so only once.
            if not self._full():
                self._connecting += 1
                return None
            waiter = Waiter(waiter.since, waiter.due)
            self._queue.appendleft(waiter)
        return connection

    async def _turn(self, waiter: Waiter) -> BackendConnection | None:
        """A free connection, or None: may connect, and is counted already."""
        try:
            return await waiter
        except asyncio.CancelledError:
            self.dequeue(waiter)
            raise

    def _waited(self, waiter: Waiter) -> None:
        self.on_waited(self._clock() - waiter.since)

    async def _connect(self) -> BackendConnection:
        """Connect; the caller has counted this one in `_connecting`."""
        started = perf_counter()
        try:
            connection = await connect(
                self.origin, self._new_connection, self._tls, self.limits.connect,
                self._destinations,
            )  # fmt: skip
            if not connection.usable:
                raise UpstreamUnreachable("the backend closed the connection at once")
            connection.connect_time = perf_counter() - started
            self._open.add(connection)
            return connection
        finally:
            self._connecting -= 1
            self._make_room()

    def _new_connection(self) -> BackendConnection:
        return BackendConnection(self, self._loop)


def _fit(connection: BackendConnection, checked: bool) -> bool:
    """Whether a request may be written to it; with `checked` the kernel is asked too."""
    return connection.usable and not (checked and connection.hung_up())
