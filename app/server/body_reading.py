"""Where a request's body ends. Pure decoders: bytes in; payload, and the bytes behind it, out.

`feed` returns the payload and, once the body has ended, the bytes after it
(which may be empty); before that the second item is None.
"""

from __future__ import annotations

import re

from ..fields.trailers import Trailers
from .refusal import Refusal
from .request_fields import parse_fields

MAX_CHUNK_LINE = 4096
"""Bytes of a chunk's size and its extensions, which are dropped (RFC 9112 §7.1.1)."""
MAX_TRAILERS = 16384
"""Bytes of all trailer fields (RFC 9110 §6.5)."""
_FREE_OVERHEAD = 16
_MAX_OVERHEAD = 16384

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z")
_CHUNK_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r?\Z")

_SMALL = {form % size: size for size in range(1, 256) for form in (b"%x", b"%X")}

READ_AHEAD = 65536
"""Bytes of later requests before we pause reading, and of an unwanted body that we still read."""


class LengthBody:
    """A body of `length` bytes."""

    __slots__ = ("remaining",)
    trailers: Trailers = ()

    def __init__(self, length: int) -> None:
        self.remaining = length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data, None
        if size == self.remaining:
            self.remaining = 0
            return data, b""
        end, self.remaining = self.remaining, 0
        return data[:end], data[end:]


class ChunkedBody:
    """A chunked body (RFC 9112 §7.1). Raises Refusal 400 if it is none.

    Extensions that outweigh the data are an attack on our time, not a message. A
    chunk's line may have 16 bytes; all bytes beyond that may sum up to 16 KiB.
    """

    __slots__ = ("_buffer", "_in_trailers", "_overhead", "_wanted", "remaining", "trailers")

    def __init__(self) -> None:
        self._buffer = b""  # an unfinished line
        self._wanted = 0  # bytes of the present chunk still to come, its CRLF included
        self._in_trailers = False
        self._overhead = 0
        self.remaining = -1
        self.trailers: Trailers = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        payload: list[bytes] = []
        position, size = 0, len(data)
        while not self._in_trailers:
            if not self._wanted:
                position = _take_whole_chunks(data, position, payload)
            else:
                position = self._take_chunk(data, position, payload)
                if self._wanted:
                    self._buffer = data[position:]
                    return b"".join(payload), None
            end = data.find(b"\r\n", position, position + MAX_CHUNK_LINE + 2)
            if end < 0:
                if size - position > MAX_CHUNK_LINE:
                    raise Refusal(400, "chunk size line too long")
                self._check_start(data, position)
                self._buffer = data[position:]
                return b"".join(payload), None
            self._begin_chunk(data[position:end])
            position = end + 2
        return b"".join(payload), self._feed_trailers(data[position:])

    def _take_chunk(self, data: bytes, position: int, payload: list[bytes]) -> int:
        """Move the present chunk, as far as it came, to `payload`; the position after it."""
        available = len(data) - position
        if available < self._wanted:
            # Hold the last two bytes back until the whole CRLF is there.
            content = min(available, self._wanted - 2)
            if content > 0:
                payload.append(data[position : position + content])
                self._wanted -= content
                position += content
            if self._wanted == 2 and data[position : position + 1] not in (b"", b"\r"):
                raise Refusal(400, "chunk longer than its size")
            return position
        end = position + self._wanted
        if data[end - 2 : end] != b"\r\n":
            raise Refusal(400, "chunk longer than its size")
        if self._wanted > 2:
            payload.append(data[position : end - 2])
        self._wanted = 0
        return end

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.match(line)
        if match is None:
            raise Refusal(400, "malformed chunk size")
        self._overhead += max(0, len(line) - _FREE_OVERHEAD)
        if self._overhead > _MAX_OVERHEAD:
            raise Refusal(400, "too many chunk extensions")
        length = int(match.group(1), 16)
        if length:
            self._wanted = length + 2
        else:
            self._in_trailers = True

    @staticmethod
    def _check_start(data: bytes, position: int) -> None:
        """Refuse at once what cannot become a size line, without waiting for its end."""
        if len(data) > position and not _CHUNK_LINE_BEGUN.match(data, position):
            raise Refusal(400, "malformed chunk size")

    def _feed_trailers(self, data: bytes) -> bytes | None:
        if data.startswith(b"\r\n"):
            return data[2:]
        end = data.find(b"\r\n\r\n", 0, MAX_TRAILERS)
        if end < 0:
            if len(data) > MAX_TRAILERS:
                raise Refusal(431, "trailer fields too large")
            self._buffer = data
            return None
        self.trailers = parse_fields(data[:end].split(b"\r\n"))
        return data[end + 4 :]


def _take_whole_chunks(data: bytes, position: int, payload: list[bytes]) -> int:
    """Move the run of small whole chunks at `position`; the position after it.

    All else, errors included, is left to the careful code. A body of one-byte chunks
    is cheap to send; without this it would keep the event loop busy.
    """
    while (end := data.find(b"\r\n", position, position + 4)) >= 0:
        length = _SMALL.get(data[position:end])
        if length is None:
            break
        stop = end + 2 + length
        if data[stop : stop + 2] != b"\r\n":
            break
        payload.append(data[end + 2 : stop])
        position = stop + 2
    return position
