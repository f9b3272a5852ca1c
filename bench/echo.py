"""The WebSocket backend: sends every message back. Run as `python -m bench.echo PORT`.

It speaks bytes, not messages: frames are passed on as they arrive, so that a
1 MiB message needs no 1 MiB of memory and a 64-byte one no object.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
from typing import cast

import uvloop
from websockets.speedups import apply_mask

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
MASK_BIT = 0x80
CLOSE = 8
NO_MASK = bytes(4)


def accept_key(key: bytes) -> bytes:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).

    >>> accept_key(b"dGhlIHNhbXBsZSBub25jZQ==")
    b's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest())


def header_size(second: int) -> int:
    """Bytes of a frame's header, by its second byte (RFC 6455 §5.2)."""
    length = second & 0x7F
    extended = 2 if length == 126 else 8 if length == 127 else 0
    return 2 + extended + (4 if second & MASK_BIT else 0)


class Unmasker:
    """Turns a client's byte stream of frames into the server's: the same without masks."""

    def __init__(self) -> None:
        self._header = b""  # of the next frame, as far as it is here
        self._left = 0  # payload bytes of the current frame that are to come
        self._mask = NO_MASK
        self.closed = False
        """A close frame has come; its echo is the last thing to send."""

    def feed(self, data: bytes) -> bytes:
        """The server's bytes for the client's next ones."""
        out = []
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                out.append(self._unmask(piece))
                continue
            at += self._take_header(data, at)
            if len(self._header) >= 2 and len(self._header) == header_size(self._header[1]):
                out.append(self._begin_frame())
        return b"".join(out)

    def _take_header(self, data: bytes, at: int) -> int:
        """How many bytes of `data` belong to the header that begins or goes on at `at`."""
        whole = header_size(self._header[1]) if len(self._header) >= 2 else 2
        piece = data[at : at + whole - len(self._header)]
        self._header += piece
        return len(piece)

    def _begin_frame(self) -> bytes:
        header, self._header = self._header, b""
        self.closed = self.closed or header[0] & 0x0F == CLOSE
        unmasked = bytes((header[0], header[1] & 0x7F)) + header[2:-4]
        self._mask = header[-4:]
        length = header[1] & 0x7F
        self._left = length if length < 126 else int.from_bytes(header[2:-4], "big")
        return unmasked

    def _unmask(self, piece: bytes) -> bytes:
        if self._mask == NO_MASK:
            return piece
        turn = len(piece) % 4  # where in the mask the next piece of this frame begins
        mask, self._mask = self._mask, self._mask[turn:] + self._mask[:turn]
        return apply_mask(piece, mask)


class Echo(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._head = b""
        self._frames: Unmasker | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._frames is None:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            data = self._head.partition(b"\r\n\r\n")[2]
            self._frames = Unmasker()
            self._accept()
        self.transport.write(self._frames.feed(data))
        if self._frames.closed:
            self.transport.close()

    def _accept(self) -> None:
        key = re.search(rb"\r\nsec-websocket-key: *([^\r]+)", self._head, re.IGNORECASE)
        if key is None:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
            return
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key[1]) + b"\r\n\r\n"
        )


async def serve(port: int) -> None:
    """Until the process is killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
