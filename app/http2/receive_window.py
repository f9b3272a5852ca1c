"""The window of a connection for what its peer sends (RFC 9113 §6.9), kept whole."""

from __future__ import annotations

from .engine import MAX_WINDOW, Engine


class ReceiveWindow:
    """Widens the window by what it has lost.

    When a stream is reset in the middle of a DATA frame, the engine forgets what had come of
    the frame, and the peer never gets it back. All streams would stop in the end.
    """

    __slots__ = ("_full", "_size")

    def __init__(self, full: int) -> None:
        """`full`: bytes of the whole window, as the engine has it from the beginning."""
        self._full = self._size = full

    def refill(self, engine: Engine, unread: int) -> bool:
        """Make it whole again once half is lost; `unread` bytes are not, and will be given back.

        False: it cannot be widened any more, and the connection may begin nothing new.
        """
        room = engine.local_window_size + unread
        if room >= self._full // 2:
            return True
        self._size += self._full - room
        if self._size > MAX_WINDOW:
            return False
        engine.set_local_window_size(self._size)
        return True
