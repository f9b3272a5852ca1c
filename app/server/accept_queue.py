"""Accepts several connections in one turn of the event loop, while they queue."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress

logger = logging.getLogger("hipache.server")

LOOK_EVERY = 0.5
"""Seconds between two looks at the queues."""
QUIET_LOOKS = 10
"""So many looks that find no queue end it."""
AT_ONCE = 8
"""Connections that are accepted in one turn of the event loop then."""
_UNACKED = struct.Struct("24xI")  # in struct tcp_info (linux/tcp.h); of a listener, its queue

Listen = Callable[[socket.socket], Coroutine[None, None, asyncio.Server]]


def queue_length(sock: socket.socket) -> int:
    """Connections that wait to be accepted on a listening socket; 0 where none can tell."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size)
    except OSError:  # a unix socket
        return 0
    return int(_UNACKED.unpack(info)[0]) if len(info) == _UNACKED.size else 0


class AcceptQueue:
    """The queues of one worker's listening sockets.

    libuv accepts one connection a turn for each descriptor that it watches. Where they queue, such
    a turn costs an eighth of what the connection and its request cost, or more; so libuv gets
    copies to watch. Where they come one by one, each copy is woken for nothing, which costs as
    much. So there are copies only while they queue. A worker that has siblings leaves to them what
    it cannot take at once.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        listen: Listen,
        alone: Callable[[], bool],
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`listen` has a server accept on a socket; `alone`: whether no other worker does."""
        self._sockets = sockets
        self._listen = listen
        self._alone = alone
        self._look_every = look_every
        self._servers: list[asyncio.Server] = []

    async def watch(self) -> None:
        """Open and close the copies, until it is cancelled; then none is left."""
        quiet = 0
        try:
            while True:
                await asyncio.sleep(self._look_every)
                if not self._alone():
                    self.close()
                elif any(queue_length(sock) > 1 for sock in self._sockets):
                    quiet = 0
                    if not self._servers:
                        await self._open()
                elif self._servers and (quiet := quiet + 1) == QUIET_LOOKS:
                    self.close()
        except Exception:  # a defect: it goes on without copies
            logger.exception("the watch over the accept queue has failed")
        finally:
            self.close()

    def close(self) -> None:
        """Close the copies."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _open(self) -> None:
        with suppress(OSError):  # no file is left: it goes on with those that there are
            for sock in self._sockets:
                for _ in range(AT_ONCE - 1):
                    copy = socket.fromfd(sock.fileno(), sock.family, sock.type)
                    self._servers.append(await self._listen(copy))
                    if not self._alone():  # any more
                        self.close()
                        return
