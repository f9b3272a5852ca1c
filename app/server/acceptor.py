"""Accepts the connections of a TLS port, each counted from its first moment.

An asyncio server tells of a connection when its handshake is done. Until then, for many
seconds if its client says nothing, nobody would count it, and a few hundred such clients
would leave no file for anybody else.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from .connection import Connection
from .edge import Edge

logger = logging.getLogger("hipache.server")

AT_ONCE = 32
"""Connections accepted before other things have their turn: other workers want some, too."""
PAUSE = 1.0
"""Seconds without accepting when the system has no file or memory left for it."""


class TLSAcceptor:
    """One listener's connections. Has of asyncio.Server what a uvicorn server asks of it."""

    def __init__(
        self,
        edge: Edge,
        make: Callable[[], Connection],
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        timeout: float,
        goodbye: float,
    ) -> None:
        """`make` gives the protocol of a connection. `timeout`: seconds from its start to the end
        of the handshake, `goodbye`: for the client's answer to the end of TLS."""
        self.sockets: tuple[socket.socket, ...] = (sock,)
        """What it listens on; nothing once it is closed, as with asyncio's."""
        self._edge = edge
        self._make = make
        self._sock = sock
        self._context = context
        self._timeout = timeout
        self._goodbye = goodbye
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()
        sock.setblocking(False)

    def start(self) -> None:
        """Accept from now on. The socket listens already."""
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept no more; handshakes under way go on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self.sockets = ()
        self._closed.set()

    async def wait_closed(self) -> None:
        """Until it is closed, and the last handshake has ended in one way or the other."""
        await self._closed.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, name = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another worker was faster, or the client has left
            except OSError as exc:
                logger.warning("connections can not be accepted cause=%s", exc.strerror or exc)
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(PAUSE, self.start)
                return
            sock.setblocking(False)
            self._take(sock, str(name[0]) if isinstance(name, tuple) else "")

    def _take(self, sock: socket.socket, address: str) -> None:
        protocol = self._make()
        if self._edge.admit(protocol, address, self._loop) is not None:
            self._edge.release(protocol, address)
            sock.close()  # to answer would need the handshake first
            return
        task = self._loop.create_task(self._shake(protocol, sock, address), name="TLS handshake")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shake(self, protocol: Connection, sock: socket.socket, address: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self._context,
                ssl_handshake_timeout=self._timeout, ssl_shutdown_timeout=self._goodbye,
            )  # fmt: skip
        except OSError:  # ssl.SSLError is one, and so are a timeout and a client that has left
            pass
        finally:
            if not protocol.connected:
                self._edge.release(protocol, address)
