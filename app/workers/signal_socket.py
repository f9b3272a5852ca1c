"""Signals as bytes on a socket: nothing happens in a handler, all in its reader's own time."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Iterator


class SignalSocket:
    """From here on `numbers` arrive at `sock`, for a selector to wait on."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self.sock, self._wakeup = socket.socketpair()
        self.sock.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _ignore)

    def read(self) -> Iterator[int]:
        """The numbers that have come."""
        yield from self.sock.recv(4096)

    def close(self) -> None:
        """For a forked child, which has resigned from them (`signal.set_wakeup_fd(-1)`)."""
        self.sock.close()
        self._wakeup.close()


def _ignore(signum: int, frame: object) -> None:
    """The wakeup socket carries the signal's number."""
