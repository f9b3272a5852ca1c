"""The connections to one origin: at most so many, the last one used reused first; their sweep."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from app.errors import (
    UpstreamBusy,
    UpstreamUnreachable,
)
from app.upstream.connection import NEVER, Connection
from app.upstream.destinations import Destinations
from app.upstream.dialling import Origin, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
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


class Place(asyncio.Future["Connection | None"]):
    """Somebody's place in the queue, given up at `due` (loop time).

    Its result is a free connection, or None for the permission to make one.
    """

    def __init__(self, due: float) -> None:
        super().__init__()
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
        limits: Limits,
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
        self._idle: deque[Connection] = deque()  # the last one used is the last
        self._open: set[Connection] = set()
        self._connecting = 0
        self._queue: deque[Place] = deque()

    @property
    def queued(self) -> int:
        """How many wait for a connection."""
        return len(self._queue)

    @property
    def connections(self) -> int:
        """How many are open or being made."""
        return len(self._open) + self._connecting

    def take(self, *, checked: bool) -> Connection | None:
        """A kept connection, the last one used first, or None.

        With `checked` the kernel is asked too whether the backend has closed it.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and not (checked and connection.hung_up()):
                return connection
            connection.abort()
        return None

    async def wait(self, *, checked: bool) -> Connection:
        """A new connection, or the next one that becomes free.

        Raises UpstreamUnreachable, and UpstreamBusy after `limits.queue` seconds or, where
        `limits.queued` wait already, at once.
        """
        if not self._full():
            self._connecting += 1
            return await self._connect()
        if 0 < self.limits.queued <= len(self._queue):
            raise UpstreamBusy("too many wait for the backend")
        began = self._clock()
        due = began + self.limits.queue
        place = Place(due)
        self._queue.append(place)
        while True:
            try:
                connection = await self._turn(place)
            finally:
                self.on_waited(self._clock() - began)
            if connection is None:
                return await self._connect()
            if connection.usable and not (checked and connection.hung_up()):
                return connection
            connection.abort()
            place = Place(due)
            self._queue.appendleft(place)

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
            place = self._queue.popleft()
            if not place.done():
                place.set_exception(UpstreamBusy())

    def close(self) -> None:
        """Close every connection, send everybody away who waits."""
        for connection in tuple(self._open):
            connection.abort()
        for place in self._queue:
            if not place.done():
                place.set_exception(UpstreamUnreachable("the proxy is stopping"))
        self._queue.clear()

    # -- connection.Owner

    def on_free(self, connection: Connection) -> None:
        now = self._clock()
        if now - connection.born >= self._age:
            connection.abort()
            return
        connection.deadline = now + self._idle_timeout
        if self._queue:
            self._offer(connection)
        else:
            self._idle.append(connection)

    def on_closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._make_room()

    # -- inside

    def _full(self) -> bool:
        return self.connections >= self.limits.max_sockets

    def _offer(self, connection: Connection) -> None:
        """To the first in the queue, else keep it."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(connection)
                return
        self._idle.append(connection)

    def _make_room(self) -> None:
        """A place has become free: the first in the queue may connect."""
        while self._queue and not self._full():
            place = self._queue.popleft()
            if not place.done():
                self._connecting += 1
                place.set_result(None)
        if not self._open and not self._connecting and not self._queue:
            self._on_unused(self.origin)

    async def _turn(self, place: Place) -> Connection | None:
        """A free connection, or None: may connect, and is counted already."""
        try:
            return await place
        except asyncio.CancelledError:
            if place.cancelled():
                if place in self._queue:  # else its turn came just now, and went to the next
                    self._queue.remove(place)
            elif place.exception() is None:  # it was our turn just now: pass it on
                connection = place.result()
                if connection is not None:
                    self._offer(connection)
                else:
                    self._connecting -= 1
                    self._make_room()
            raise

    async def _connect(self) -> Connection:
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

    def _new_connection(self) -> Connection:
        return Connection(self, self._loop)


class Pools:
    """The pools of all origins in use, and the one timer that serves them."""

    def __init__(
        self,
        limits: Limits,
        tls: Callable[[], ssl.SSLContext],
        destinations: Destinations | None = None,
    ) -> None:
        self._destinations = destinations
        self.limits = limits
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.on_waited: Callable[[float], None] = lambda seconds: None

    def of(self, origin: Origin) -> Pool:
        """The pool of `origin`, made when first asked for and forgotten when not in use."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(
                origin, self.limits, self._tls, self._forget, self._destinations
            )
            pool.on_waited = self.on_waited
            if self._timer is None:
                self._next_sweep()
        return pool

    def find(self, origin: Origin) -> Pool | None:
        """The pool of `origin`, if that is in use."""
        return self._pools.get(origin)

    def __iter__(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    def close(self) -> None:
        """Close every connection."""
        for pool in self:
            pool.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self, origin: Origin) -> None:
        self._pools.pop(origin, None)

    def _next_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.limits.step
        self._timer = loop.call_at(due, self._sweep, loop, due) if self._pools else None

    def _sweep(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        # Late, because the event loop was held up: what backends have sent meanwhile may not have
        # been read yet (uvloop runs timers before it reads), so nobody is judged this time.
        if now - due < self.limits.step:
            for pool in self:
                pool.sweep(now)
        self._next_sweep()
