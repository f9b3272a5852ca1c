"""What the kernel knows of a connection before the event loop hears of it.

The connection that is asked about may have lost its socket already: an event loop closes it in one
turn and tells so in the next. Such a connection is at its end, and the caller made no mistake.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import struct
import termios
from collections.abc import Callable, Iterator
from functools import lru_cache

CLOSED = -1


def readable(transport: asyncio.Transport) -> bool:
    """Whether something can be read: bytes, or the end. One system call."""
    if (fileno := _fileno(transport)) == CLOSED:
        return True
    return bool(_poll_of(fileno)(0))


@lru_cache(maxsize=1024)
def _poll_of(fileno: int) -> Callable[[int], list[tuple[int, int]]]:
    """Asks for one descriptor, whichever socket it is at the time: to register costs more."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN | select.POLLRDHUP)
    return poll.poll


def unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes written that the peer's kernel has not taken, those in our own buffer included."""
    if (fileno := _fileno(transport)) == CLOSED:
        return 0  # they are lost: it takes no more
    queued = fcntl.ioctl(fileno, termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int(struct.unpack("i", queued)[0])


def unread(transport: asyncio.Transport) -> Iterator[bytes]:
    """What came before the reset that ended the connection, and was not read.

    Linux keeps it. Both event loops close the socket after `connection_lost` only.
    """
    if transport.get_extra_info("ssl_object") is not None:
        return  # the bytes would be TLS's
    try:
        while data := os.read(_fileno(transport), 262144):
            yield data
    except OSError:  # nothing more, or the reset itself
        return


def _fileno(transport: asyncio.Transport) -> int:
    return int(transport.get_extra_info("socket").fileno())
