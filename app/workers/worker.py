"""One worker process under `hipache serve`: a uvicorn server that its supervisor steers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

import psutil
import uvicorn

from ..server.accept_share import AcceptShare
from ..server.accepting import accept_on, accept_queue
from ..server.listeners import ListeningSocket
from ..server.running import edge_of
from ..server.shared_loads import SharedLoads
from .process import REPORT_INTERVAL, ControlChannel, WorkerMessage

logger = logging.getLogger("hipache.worker")

CLOSE_TIMEOUT = 2.0
"""Seconds that a worker whose supervisor is gone has to close its store, its logs and its pools."""
DRAIN_LOOK_EVERY = 0.05
"""Seconds between two looks whether a draining worker is done."""


class WorkerServer(uvicorn.Server):
    """A uvicorn server that listens to its control socket, not to the terminal.

    Ctrl-C reaches every process of the terminal's group at once: were workers
    to act on it, they would end beside the supervisor's plan, not by it.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[ListeningSocket],
        control: socket.socket,
        on_hand_over: Callable[[], None],
        loads: SharedLoads | None = None,
    ) -> None:
        """`on_hand_over` is called when it drains because a successor serves in its place.

        `loads`: what it and its siblings share connections by.
        """
        super().__init__(config)
        self._loads = loads
        self._queue_watch: asyncio.Task[None] | None = None
        self._on_hand_over = on_hand_over
        self._listeners = listeners
        self._channel = ControlChannel(control)
        self._started_at = monotonic()
        self._process = psutil.Process()
        self._drain_deadline = float("inf")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        plain = [each for each in self._listeners if not (each.tls or each.proxied_by is not None)]
        plain_sockets = [each.sock for each in plain]
        await super().startup(plain_sockets)
        for listener in self._listeners:
            if listener not in plain:
                self.servers.append(await accept_on(self, listener))
        share = AcceptShare.of(self._loads, [it.sock for it in self._listeners])
        if (edge := edge_of(self)) is not None:
            edge.accept_share = share
        if share is not None:
            watch = accept_queue(self, plain_sockets, share).watch()
            self._queue_watch = asyncio.create_task(watch, name="watch over the accept queue")
        asyncio.get_running_loop().add_reader(self._channel.sock, self._heard)
        self._channel.send(say="ready", pid=os.getpid())
        self._say_alive()

    def drain(self, grace: float) -> None:
        """Accept nothing new, let what runs finish within `grace` seconds (0: however long).

        A second call sets a new grace, from its own time on.
        """
        self._drain_deadline = monotonic() + (grace or float("inf"))
        self.should_exit = True

    def ask_for_recycling(self, why: str) -> None:
        """Tell the supervisor that a fresh worker should take over."""
        self._channel.send(say="recycle", why=why)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The drain. Unlike uvicorn's, its end can be moved, and it says what it had to cut."""
        began = monotonic()
        if (edge := edge_of(self)) is not None:
            edge.draining = True
            if edge.accept_share is not None:
                edge.accept_share.close()
                edge.accept_share = None
        if self._queue_watch is not None:
            self._queue_watch.cancel()
        gone = [asyncio.ensure_future(server.wait_closed()) for server in self.servers]
        await asyncio.sleep(0)  # asked of a closed server, some loops do not wait for connections
        for server in self.servers:
            server.close()
        for listener in self._listeners:
            listener.sock.close()
        await asyncio.sleep(DRAIN_LOOK_EVERY)  # what was accepted a moment ago arrives
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._until_done(gone)
        cut = len(self.server_state.tasks)
        for task in list(self.server_state.tasks):
            task.cancel("the grace is over")
        with contextlib.suppress(TimeoutError):
            # Its task, were it cancelled in the middle, would leave a traceback.
            async with asyncio.timeout(CLOSE_TIMEOUT if self.force_exit else None):
                await self.lifespan.shutdown()
        logger.log(
            logging.WARNING if cut else logging.INFO,
            "worker drained gracefully=%s cut=%d took=%.1fs uptime=%.0fmin requests=%d",
            "no" if cut else "yes", cut, monotonic() - began, (began - self._started_at) / 60,
            self.server_state.total_requests,
        )  # fmt: skip

    async def _until_done(self, gone: Sequence[asyncio.Future[None]]) -> None:
        """`gone`: also those that are still at their TLS handshake or PROXY header."""
        state = self.server_state
        while not self.force_exit:
            if not (state.connections or state.tasks) and all(each.done() for each in gone):
                return
            if monotonic() >= self._drain_deadline:
                return
            await asyncio.sleep(DRAIN_LOOK_EVERY)

    def _heard(self) -> None:
        messages = self._channel.receive()
        if messages is None:
            asyncio.get_running_loop().remove_reader(self._channel.sock)
            logger.error("the supervisor is gone, stopping pid=%d", os.getpid())
            self.force_exit = True
            self.should_exit = True
            return
        for message in messages:
            if message.get("do") == "drain":
                self.drain(message["grace"])
                if message["handed_over"]:
                    self._on_hand_over()

    def _say_alive(self) -> None:
        self._channel.send(say="alive", **self.figures())
        asyncio.get_running_loop().call_later(REPORT_INTERVAL, self._say_alive)

    def figures(self) -> WorkerMessage:
        """What `hipache status` shows of this worker."""
        return {
            "age": round(monotonic() - self._started_at, 1),
            "rss": self._process.memory_info().rss,
            "requests": self.server_state.total_requests,
            "connections": len(self.server_state.connections),
            "in_flight": len(self.server_state.tasks),
        }


def serve(
    config: uvicorn.Config,
    listeners: Sequence[ListeningSocket],
    control: socket.socket,
    on_hand_over: Callable[[], None],
    loads: SharedLoads | None = None,
) -> WorkerServer:
    """Run until drained; returns the server, whose figures are final then."""
    server = WorkerServer(config, listeners, control, on_hand_over, loads)
    server.run()
    return server
