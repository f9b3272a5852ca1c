"""Where WebSocket frames begin and end, and which close codes may be sent. Pure.

RFC 6455 §5.2 has the header, §7.4.1 the codes. A tunnel needs no more:
payloads stay masked, compressed and unread.
"""

from __future__ import annotations

NO_CODE = 1005
ABNORMAL = 1006
GOING_AWAY = 1001
SERVICE_RESTART = 1012
BAD_GATEWAY = 1014

LAST_WORDS = 0.5
"""Seconds that a session has to end once the worker's grace is over."""

MAX_UNREAD = 65536
"""Bytes of unread messages at which a relay stops reading from their sender."""

MESSAGE_COST = 256
"""Bytes that an unread message counts for in addition to its own: what holding it costs."""

_CLOSE = 0x8
_LONGEST_PAYLOAD = 125
_LONGEST_CONTROL = 2 + 4 + _LONGEST_PAYLOAD


class FrameTracker:
    """Follows one direction of a connection: counts messages, knows the boundaries.

    It judges nothing: the bytes of a broken sender go on to its peer, which will
    complain. After a header that cannot be right the boundaries are wherever the
    sender puts them, as they would be on a direct connection.
    """

    __slots__ = ("_head", "_left", "close_code", "messages", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of frames seen, headers included."""
        self.messages = 0
        """Messages begun to end: final frames of text and binary messages."""
        self.close_code: int | None = None
        """Code of the first close frame; 1005 where it carried none (RFC 6455 §7.1.5)."""
        self._left = 0  # payload bytes still to come
        self._head = b""  # an incomplete header, or an incomplete close frame

    @property
    def at_boundary(self) -> bool:
        """Whether a frame of our own could be put in here."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Take note of the next bytes of the stream."""
        size = len(data)
        self.size += size
        at = self._left
        if at >= size:
            self._left = at - size
            return
        self._left = 0
        if self._head:
            data = self._head + data
            size = len(data)
            self._head = b""
        while at < size:
            end = self._frame_end(data, at)
            if not end:
                self._head = data[at:]
                return
            at = end
        self._left = at - size

    def bytes_to_boundary(self, data: bytes) -> int:
        """How many of the next bytes complete the frame that is under way.

        0 at a boundary; all of them, or more than there are, if they do not
        complete it. A frame whose header is split counts as not completed.
        """
        if self._head:
            whole = self._head + data
            end = self._frame_end(whole, 0, count=False)
            return (end or len(whole) + 1) - len(self._head)
        return self._left

    def _frame_end(self, data: bytes, at: int, *, count: bool = True) -> int:
        """Offset behind the frame at `at`, which may lie beyond the data; 0 if not yet known."""
        size = len(data)
        if size - at < 2:
            return 0
        first = data[at]
        second = data[at + 1]
        length = second & 0x7F
        end = at + (6 if second & 0x80 else 2)
        if length > 125:
            wide = 2 if length == 126 else 8
            if size < at + 2 + wide:
                return 0
            length = int.from_bytes(data[at + 2 : at + 2 + wide], "big")
            end += wide
        end += length
        if not count:
            return end
        if first & 0x0F == _CLOSE and self.close_code is None:
            if end > size and end - at <= _LONGEST_CONTROL:
                return 0
            self.close_code = _close_code(data[at:end])
        elif first & 0x88 == 0x80:
            self.messages += 1
        return end


def _close_code(frame: bytes) -> int:
    """The code in a whole close frame, masked or not; a longer one than there may be has none."""
    masked = frame[1] & 0x80
    length = frame[1] & 0x7F
    if not 2 <= length <= _LONGEST_PAYLOAD:
        return NO_CODE
    if not masked:
        return int.from_bytes(frame[2:4], "big")
    return int.from_bytes(bytes((frame[6] ^ frame[2], frame[7] ^ frame[3])), "big")


SMALL = 125
"""Bytes of payload that need no extended length."""


def small_frame(first: int, data: bytes, mask: bytes = b"") -> bytes:
    """A whole frame of at most SMALL bytes; `first` is its first byte, a client gives a mask.

    >>> small_frame(0x81, b"Hello", bytes.fromhex("37fa213d")).hex()  # RFC 6455 §5.7
    '818537fa213d7f9f4d5158'
    """
    size = len(data)
    if not mask:
        return bytes((first, size)) + data
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
    return bytes((first, 0x80 | size)) + mask + masked


def sendable(code: int | None) -> int:
    """The code to send where the other side ended with `code`.

    1005, 1006 and 1015 are only ever reported, never sent (RFC 6455 §7.4.1).
    A close without a code becomes a normal one, a broken connection to the
    backend what 502 is in HTTP.

    >>> [sendable(code) for code in (None, 1000, 1005, 1006, 1015, 4001)]
    [1014, 1000, 1000, 1014, 1014, 4001]
    """
    if code == NO_CODE:
        return 1000
    if code is None or not (3000 <= code < 5000 or (1000 <= code <= 1014 and code != 1004)):
        return BAD_GATEWAY
    return BAD_GATEWAY if code == ABNORMAL else code
