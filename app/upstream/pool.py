"""The connections to one origin: at most so many, the stream used last reused first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from ..errors import UpstreamBusy, UpstreamUnreachable
from .asker import Asker, ClientOf, nobody
from .backend_connection import BackendConnection
from .backend_stream import BackendStream, PooledConnection
from .contention import Contention
from .destinations import Destinations
from .dialling import Dialler, Origin
from .free_streams import FreeStreams, is_fit
from .limits import PoolLimits
from .tls_contexts import ContextSource
from .waiting import Waiter, WaitingLine


class Pool:
    """The connections to one origin, and the streams on them that are free.

    Never more connections than `limits.max_sockets`, those that are being made included; a
    request that finds no free stream waits in order. `on_unused` is called when neither a
    connection nor a waiter is left, `on_waited` with the seconds of a wait.
    """

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        tls: ContextSource,
        on_unused: Callable[[Origin], None],
        client_of: ClientOf = nobody,
        *,
        destinations: Destinations | None = None,
    ) -> None:
        self.origin = origin
        self.limits = limits
        self.tcp_timeout, self.response_timeout = limits.tcp, limits.response
        self.max_age = limits.age if limits.keep_alive else 0.0
        self.idle_timeout = limits.idle
        self._dialler = Dialler(origin, tls, limits.connect, destinations or Destinations())
        self._on_unused = on_unused
        self.on_waited: Callable[[float], None] = lambda seconds: None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._available = FreeStreams()
        self._open, self._connecting = set[PooledConnection](), 0
        self._promised = 0  # streams given to a waiter whose asker has not come yet
        self._queue = WaitingLine()
        self._contention = Contention(
            origin, limits, self._open, self._queue, client_of=client_of, serve=self._serve_waiters
        )

    @property
    def queued(self) -> int:
        """How many wait for a connection."""
        return len(self._queue)

    @property
    def connections(self) -> int:
        """How many are open or being made."""
        return len(self._open) + self._connecting

    def take(self, *, checked: bool) -> BackendStream | None:
        """A free stream, the one used last first, or None.

        With `checked` the kernel is asked too whether the backend has closed its connection: for
        a request that cannot be sent again, by its method or for its body. None too where not all
        requests are served alike: `queue` decides then.
        """
        while self._available and self._contention.reserve < 0:
            stream = self._available.pop()
            # As `is_fit`, without a call for each request.
            if stream.is_available() and not (checked and stream.hung_up()):
                return stream
            stream.abort()
        return None

    def queue(self, asker: Asker | None) -> Waiter | None:
        """Join the queue; None where a connection may be made at once.

        The waiter may be done already. Raises UpstreamBusy where `limits.queued` wait already.
        """
        now = self._clock()
        if self._free > self._contention.reserved_from(asker):
            if not self._available:
                return None
            waiter = Waiter(now, now, asker)
            self._give(waiter)
            return waiter
        if 0 < self.limits.queued <= len(self._queue) and not self._contention.displace(asker):
            raise UpstreamBusy("too many wait for the backend")
        waiter = Waiter(now, now + self.limits.queue, asker)
        self._contention.join(waiter)
        return waiter

    def claim(self, waiter: Waiter, *, checked: bool) -> BackendStream | None:
        """The stream that `waiter` was given, if it was one that can be used; else `wait`."""
        stream = waiter.stream
        if stream is None or not is_fit(stream, checked):
            return None
        self._promised -= 1
        self.on_waited(waiter.waited(self._clock()))
        return stream

    async def wait(self, waiter: Waiter | None, *, checked: bool) -> BackendStream:
        """A new stream, or the next one that becomes free; `waiter` is what `queue` gave.

        Raises UpstreamUnreachable, and UpstreamBusy after `limits.queue` seconds.
        """
        if waiter is None:
            self._connecting += 1
            return await self._connect()
        try:
            stream = await self._await_stream(waiter, checked)
        finally:
            self.on_waited(waiter.waited(self._clock()))
        return stream or await self._connect()

    def dequeue(self, waiter: Waiter) -> None:
        """Give `waiter` up; what it was given meanwhile goes to the next."""
        waiter.waited(self._clock())
        waiter.when_done(None)
        if not waiter.done:
            self._queue.remove(waiter)
        elif waiter.error is None:
            if waiter.stream is None:
                self._connecting -= 1
            else:
                self._promised -= 1
                if waiter.stream.is_available():
                    self._available.append(waiter.stream)
            self._serve_waiters()

    def drop_closed(self) -> None:
        """Ask the kernel for each free stream: one kept connection was found closed already."""
        self._available.drop_closed()

    def sweep(self, now: float) -> None:
        """Enforce what is due: unused connections, silent backends, the time in the queue; leave
        the addresses that the backend's name has no longer."""
        if left := self._dialler.moved_from(self.limits.resolve):
            for connection in tuple(self._open):
                connection.retire_from(left)
        for connection in tuple(self._open):
            if connection.deadline <= now:
                if connection.is_idle:
                    connection.close()
                else:
                    connection.expire(now)
        self._queue.drop_overdue(now)

    def close(self) -> None:
        """Close every connection, send every waiter away."""
        for connection in tuple(self._open):
            connection.close()
        self._contention.stop()
        self._queue.fail_all(UpstreamUnreachable("the proxy is stopping"))

    # -- stream.Owner

    def on_available(self, stream: BackendStream) -> None:
        self._available.append(stream)
        if self._queue.front or self._queue.behind:
            self._serve_waiters()

    def on_closed(self, connection: PooledConnection) -> None:
        self._open.discard(connection)
        self._available.drop_lost()
        self._serve_waiters()

    # -- inside

    @property
    def _free(self) -> int:
        """Streams that are free, and connections that may be made."""
        return self.limits.max_sockets - self.connections + len(self._available)

    def _may_connect(self) -> bool:
        return self.connections < self.limits.max_sockets

    def _give(self, waiter: Waiter) -> None:
        """Give `waiter` a stream, or the permission to connect."""
        if self._available:
            self._promised += 1
            waiter.give(self._available.pop())
        else:
            self._connecting += 1
            waiter.give(None)

    def _serve_waiters(self) -> None:
        """Something has become free: the first in the queue get it."""
        while self._queue and (free := self._free) > 0:
            waiter = self._queue.next_waiter(behind=free > self._contention.reserve)
            if waiter is None:
                break
            self._give(waiter)
        if not (self._open or self._connecting or self._queue or self._promised):
            self._on_unused(self.origin)

    async def _await_stream(self, waiter: Waiter, checked: bool) -> BackendStream | None:
        """A stream that can be used, or None: the waiter may connect, and is counted already."""
        while (stream := await self._await_turn(waiter)) is not None:
            self._promised -= 1
            if is_fit(stream, checked):
                break
            stream.abort()
            # One that was lost meanwhile has made room already, and does so only once.
            if self._may_connect():
                self._connecting += 1
                return None
            waiter = Waiter(waiter.since, waiter.due, waiter.asker)
            self._queue.front.appendleft(waiter)
        return stream

    async def _await_turn(self, waiter: Waiter) -> BackendStream | None:
        try:
            return await waiter.wait()
        except asyncio.CancelledError:
            self.dequeue(waiter)
            raise

    async def _connect(self) -> BackendStream:
        """Connect; the caller has counted this one in `_connecting`."""
        started = perf_counter()
        try:
            connection = await self._make_connection()
            stream = connection.open_stream()
            if not stream.is_available():
                raise UpstreamUnreachable("the backend closed the connection at once")
            if connection.connect_time is not None:  # else it is a place on one that was open
                connection.connect_time = perf_counter() - started
            self._open.add(connection)
            return stream
        finally:
            self._connecting -= 1
            self._serve_waiters()

    async def _make_connection(self) -> PooledConnection:
        return await self._dialler.connect(self._new_connection)

    def _new_connection(self) -> BackendConnection:
        return BackendConnection(self, self._loop)
