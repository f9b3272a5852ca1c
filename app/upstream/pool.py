"""The connections to one origin: at most so many, the stream used last reused first."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import perf_counter

from ..errors import UpstreamBusy, UpstreamUnreachable
from .backend_connection import BackendConnection
from .backend_stream import BackendStream, PooledConnection
from .destinations import Destinations
from .dialling import Origin, connect
from .limits import PoolLimits
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
        tls: Callable[[], ssl.SSLContext],
        on_unused: Callable[[Origin], None],
        destinations: Destinations | None = None,
    ) -> None:
        self._destinations = destinations or Destinations()
        self.origin = origin
        self.limits = limits
        self.tcp_timeout = limits.tcp
        self.response_timeout = limits.response
        self.max_age = limits.age if limits.keep_alive else 0.0
        self.idle_timeout = limits.idle
        self._tls = tls
        self._on_unused = on_unused
        self.on_waited: Callable[[float], None] = lambda seconds: None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._available: deque[BackendStream] = deque()  # the last one used is the last
        self._open: set[PooledConnection] = set()
        self._connecting = 0
        self._promised = 0  # streams given to a waiter whose asker has not come yet
        self._queue = WaitingLine()

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

        With `checked` the kernel is asked too whether the backend has closed its connection.
        """
        while self._available:
            stream = self._available.pop()
            if _is_fit(stream, checked):
                return stream
            stream.abort()
        return None

    def queue(self) -> Waiter | None:
        """Join the queue; None where a connection may be made at once.

        Raises UpstreamBusy where `limits.queued` wait already.
        """
        if not self._is_full():
            return None
        if 0 < self.limits.queued <= len(self._queue):
            raise UpstreamBusy("too many wait for the backend")
        now = self._clock()
        waiter = Waiter(now, now + self.limits.queue)
        self._queue.append(waiter)
        return waiter

    def claim(self, waiter: Waiter, *, checked: bool) -> BackendStream | None:
        """The stream that `waiter` was given, if it was one that can be used; else `wait`."""
        stream = waiter.result() if waiter.exception() is None else None
        if stream is None or not _is_fit(stream, checked):
            return None
        self._promised -= 1
        self._report_wait(waiter)
        return stream

    async def wait(self, waiter: Waiter | None, *, checked: bool) -> BackendStream:
        """A new stream, or the next one that becomes free; `waiter` is the asker's, if any.

        Raises UpstreamUnreachable, and UpstreamBusy after `limits.queue` seconds or, where
        `limits.queued` wait already, at once.
        """
        waiter = waiter or self.queue()
        if waiter is None:
            self._connecting += 1
            return await self._connect()
        try:
            stream = await self._await_stream(waiter, checked)
        finally:
            self._report_wait(waiter)
        return stream or await self._connect()

    def dequeue(self, waiter: Waiter) -> None:
        """Give `waiter` up; what it was given meanwhile goes to the next."""
        waiter.cancel()
        if waiter.cancelled():
            if waiter in self._queue:  # else its turn came just now, and went to the next
                self._queue.remove(waiter)
        elif waiter.exception() is None:
            stream = waiter.result()
            if stream is None:
                self._connecting -= 1
            else:
                self._promised -= 1
                if stream.is_available:
                    self._offer(stream)
            self._make_room()

    def drop_closed(self) -> None:
        """Ask the kernel for each free stream: one kept connection was found closed already."""
        for stream in tuple(self._available):
            if not _is_fit(stream, checked=True):
                self._available.remove(stream)
                stream.abort()

    def sweep(self, now: float) -> None:
        """Enforce what is due: unused connections, silent backends, the time in the queue; leave
        the addresses that the backend's name has no longer."""
        if left := self._destinations.moved_from(self.origin[1], self.limits.resolve):
            for connection in tuple(self._open):
                connection.retire_from(left)
        for connection in tuple(self._open):
            if connection.deadline <= now:
                if connection.is_idle:
                    connection.abort()
                else:
                    connection.expire(now)
        self._queue.drop_overdue(now)

    def close(self) -> None:
        """Close every connection, send every waiter away."""
        for connection in tuple(self._open):
            connection.abort()
        self._queue.fail_all(UpstreamUnreachable("the proxy is stopping"))

    # -- stream.Owner

    def on_available(self, stream: BackendStream) -> None:
        if self._queue:
            self._offer(stream)
        else:
            self._available.append(stream)

    def on_closed(self, connection: PooledConnection) -> None:
        self._open.discard(connection)
        for stream in tuple(self._available):
            if not stream.is_available:
                self._available.remove(stream)
        self._make_room()

    # -- inside

    def _is_full(self) -> bool:
        return self.connections >= self.limits.max_sockets

    def _offer(self, stream: BackendStream) -> None:
        """Give `stream` to the first in the queue, else keep it."""
        waiter = self._queue.next_waiter()
        if waiter is None:
            self._available.append(stream)
        else:
            self._promised += 1
            waiter.set_result(stream)

    def _make_room(self) -> None:
        """There is room for a connection: the first in the queue may connect."""
        while self._queue and not self._is_full():
            if (waiter := self._queue.next_waiter()) is not None:
                self._connecting += 1
                waiter.set_result(None)
        if not (self._open or self._connecting or self._queue or self._promised):
            self._on_unused(self.origin)

    async def _await_stream(self, waiter: Waiter, checked: bool) -> BackendStream | None:
        """A stream that can be used, or None: the waiter may connect, and is counted already."""
        while (stream := await self._await_turn(waiter)) is not None:
            self._promised -= 1
            if _is_fit(stream, checked):
                break
            stream.abort()
            # One that was lost meanwhile has made room already, and does so only once.
            if not self._is_full():
                self._connecting += 1
                return None
            waiter = Waiter(waiter.since, waiter.due)
            self._queue.appendleft(waiter)
        return stream

    async def _await_turn(self, waiter: Waiter) -> BackendStream | None:
        try:
            return await waiter
        except asyncio.CancelledError:
            self.dequeue(waiter)
            raise

    def _report_wait(self, waiter: Waiter) -> None:
        self.on_waited(self._clock() - waiter.since)

    async def _connect(self) -> BackendStream:
        """Connect; the caller has counted this one in `_connecting`."""
        started = perf_counter()
        try:
            connection = await connect(
                self.origin, self._new_connection, self._tls, self.limits.connect,
                self._destinations,
            )  # fmt: skip
            stream = connection.open_stream()
            if not stream.is_available:
                raise UpstreamUnreachable("the backend closed the connection at once")
            connection.connect_time = perf_counter() - started
            self._open.add(connection)
            return stream
        finally:
            self._connecting -= 1
            self._make_room()

    def _new_connection(self) -> BackendConnection:
        return BackendConnection(self, self._loop)


def _is_fit(stream: BackendStream, checked: bool) -> bool:
    """Whether a request may be written to it; with `checked` the kernel is asked too."""
    return stream.is_available and not (checked and stream.hung_up())
