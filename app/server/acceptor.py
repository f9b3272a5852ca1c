"""Accepts the connections of a TLS port, each counted from its first moment.

An asyncio server reports a connection only when its handshake is done. A client that says
nothing can delay that for many seconds. Nobody would count its connection, and a few
hundred such clients would take all open files.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from .client_connection import ClientConnection
from .edge import NO_DEADLINE, Edge

logger = logging.getLogger("hipache.server")

SHORTAGE_PAUSE = 1.0
"""Seconds without accepting after the system ran out of files or memory."""

MakeProtocol = Callable[[str | None], ClientConnection]
"""The protocol of a connection, by the name that its handshake has agreed on (ALPN)."""
BeforeHandshake = Callable[[socket.socket], Awaitable[None] | None]
"""What the handshake on a connection has to wait for, if anything; it leaves all bytes there."""
LAST = 1.0
"""Seconds that a handshake has in any case, however long it waited to begin."""


class TLSHandshake(asyncio.Protocol):
    """Stands for a connection until its handshake is done, then makes way for its protocol."""

    deadline = NO_DEADLINE  # the event loop has a timer for it

    def __init__(self, edge: Edge, make: MakeProtocol) -> None:
        self._edge = edge
        self._make = make
        self.done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        alpn = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        protocol = self._make(alpn)
        self._edge.replace(self, protocol)
        self.done = True
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)

    def expire(self) -> None:
        """Never, as it has no deadline."""

    def brake(self) -> None:
        """It reads no bodies."""

    def go_on(self) -> None:
        """It was not braked."""


class TLSAcceptor:
    """Accepts the connections of one TLS port; has the part of asyncio.Server that uvicorn uses."""

    def __init__(
        self,
        edge: Edge,
        make: MakeProtocol,
        sock: socket.socket,
        context: Callable[[], ssl.SSLContext],
        *,
        timeout: float,
        goodbye: float,
        before: BeforeHandshake | None = None,
    ) -> None:
        """`context` is asked for at each connection. `timeout`: seconds from a connection's start
        to the end of its handshake. `goodbye`: seconds for the client to answer TLS's end.
        `before` is awaited first, within `timeout`."""
        self.sockets: tuple[socket.socket, ...] = (sock,)
        """The listening socket; empty once closed, as asyncio has it."""
        self._edge = edge
        self._make = make
        self._sock = sock
        self._context = context
        self._timeout = timeout
        self._goodbye = goodbye
        self._before = before
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()
        sock.setblocking(False)
        if before is not None and sock.family != socket.AF_UNIX:
            # The kernel hands a connection over when its first bytes are there: so they can be
            # looked at without waiting for them once more. A silent one comes after this time.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(timeout))

    def start(self) -> None:
        """Accept from now on. The socket listens already."""
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Stop accepting; handshakes under way go on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self.sockets = ()
        self._closed.set()

    async def wait_closed(self) -> None:
        """Wait until it is closed and the last handshake has ended, well or badly."""
        await self._closed.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self) -> None:
        """Take one in each turn of the event loop: its handshake takes a hundred times as long, and
        meanwhile other workers take theirs."""
        try:
            sock, name = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError as exc:
            logger.warning("cannot accept connections cause=%s", exc.strerror or exc)
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(SHORTAGE_PAUSE, self.start)
            return
        sock.setblocking(False)
        self._take(sock, str(name[0]) if isinstance(name, tuple) else "")

    def _take(self, sock: socket.socket, address: str) -> None:
        handshake = TLSHandshake(self._edge, self._make)
        if self._edge.admit(handshake, address, self._loop) is not None:
            self._edge.release(handshake, address)
            sock.close()  # to answer would need the handshake first
            return
        task = self._loop.create_task(self._shake(handshake, sock, address), name="TLS handshake")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shake(self, handshake: TLSHandshake, sock: socket.socket, address: str) -> None:
        timeout = self._timeout
        try:
            if self._before is not None and (waiting := self._before(sock)) is not None:
                timeout = await self._waited(waiting)
            await self._loop.connect_accepted_socket(
                lambda: handshake, sock, ssl=self._context(),
                ssl_handshake_timeout=timeout, ssl_shutdown_timeout=self._goodbye,
            )  # fmt: skip
        except OSError:  # ssl.SSLError, a timeout, a client that has gone
            pass
        except Exception:  # a defect: no connection may stay behind because of it
            logger.exception("a handshake has failed")
            sock.close()
        finally:
            if not handshake.done:
                self._edge.release(handshake, address)

    async def _waited(self, waiting: Awaitable[None]) -> float:
        """Wait until the handshake may begin; the seconds that are left for it."""
        began = self._loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout - LAST):
                await waiting
        return max(LAST, self._timeout - (self._loop.time() - began))
