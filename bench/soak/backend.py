"""Backends that do what the target says, and fail when it says so:
`python -m bench.soak.backend [PORT]`.

It prints its port. Targets are `/what/size?id`; the body of `size` bytes is `body_of(size)`.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from bench.echo import Unmasker, accept_key

_PATTERN = bytes(range(33, 127)) * 700
_RESET = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)", re.IGNORECASE)
_PIECE = 16384


def body_of(size: int) -> bytes:
    """What every answer of `size` bytes consists of."""
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


def head(size: int, *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % size, *fields, b"", b""]
    return b"\r\n".join(lines)


def chunks(data: bytes) -> bytes:
    pieces = [data[i : i + _PIECE] for i in range(0, len(data), _PIECE)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class Backend(asyncio.Protocol):
    """One connection of the proxy's."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._data = b""
        self._frames: Unmasker | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._frames is not None:
            self.transport.write(self._frames.feed(data))
            if self._frames.closed:
                self.transport.close()
            return
        self._data += data
        while not self.transport.is_closing() and self._serve_one():
            pass

    def _serve_one(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        request = self._data[: end + 2]
        method, target, _ = request.split(b" ", 2)
        what, size = target.partition(b"?")[0].split(b"/")[1:3]
        act = ACTS[what]
        if act in (early, reset):  # these do not wait for the body
            self._data = b""
            act(self, method, int(size))
            return False
        body = self._take_body(request, end + 4)
        if body is None:
            return False
        if what == b"ws":
            self._switch(request)
        elif method == b"POST" and what == b"plain":
            self.transport.write(head(int(size), b"X-Received: %d" % body) + body_of(int(size)))
        else:
            act(self, method, int(size))
        return bool(self._data)

    def _take_body(self, request: bytes, at: int) -> int | None:
        """Bytes of the body, once it is here to its end."""
        if b"\r\ntransfer-encoding: chunked" in request.lower():
            end = self._data.find(b"0\r\n\r\n", at)  # no body of ours has these bytes in it
            if end < 0:
                return None
            size, self._data = end + 5 - at, self._data[end + 5 :]
            return size
        found = _LENGTH.search(request)
        length = int(found[1]) if found else 0
        if len(self._data) < at + length:
            return None
        self._data = self._data[at + length :]
        return length

    def _switch(self, request: bytes) -> None:
        key = _KEY.search(request)
        assert key is not None
        self._frames = Unmasker()
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key[1]) + b"\r\n\r\n"
        )
        if self._data:
            data, self._data = self._data, b""
            self.data_received(data)


Act = Callable[[Backend, bytes, int], None]


def plain(backend: Backend, method: bytes, size: int) -> None:
    backend.transport.write(head(size) + (b"" if method == b"HEAD" else body_of(size)))


def chunked(backend: Backend, method: bytes, size: int) -> None:
    backend.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    if method != b"HEAD":
        backend.transport.write(chunks(body_of(size)) + b"0\r\n\r\n")


def until_close(backend: Backend, method: bytes, size: int) -> None:
    backend.transport.write(b"HTTP/1.0 200 OK\r\n\r\n" + body_of(size))
    backend.transport.close()


def late(backend: Backend, method: bytes, size: int) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(random.random() * 0.02, plain, backend, method, size)


def early(backend: Backend, method: bytes, size: int) -> None:
    backend.transport.write(head(size, b"Connection: close") + body_of(size))
    backend.transport.close()


def cut(backend: Backend, method: bytes, size: int) -> None:
    """An answer that ends after any number of its bytes, the last one excluded."""
    whole = head(size) + body_of(size)
    if random.random() < 0.5:
        whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        whole += chunks(body_of(size)) + b"0\r\n\r\n"
    sent = whole[: random.randrange(len(whole))]
    if random.random() < 0.5:
        sent = sent[: random.randrange(200)]
    backend.transport.write(sent)
    if random.random() < 0.5:
        backend.transport.close()
    else:
        reset(backend, method, size)


def reset(backend: Backend, method: bytes, size: int) -> None:
    if not backend.transport.is_closing():
        sock = backend.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    backend.transport.abort()


def garbage(backend: Backend, method: bytes, size: int) -> None:
    backend.transport.write(random.choice(GARBAGE))


GARBAGE = [
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 099 What\r\n\r\n",
    b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
]

ACTS: dict[bytes, Act] = {
    b"plain": plain,
    b"chunked": chunked,
    b"close": until_close,
    b"late": late,
    b"early": early,
    b"cut": cut,
    b"reset": reset,
    b"garbage": garbage,
    b"ws": plain,  # answered before it gets here
}


async def main(port: int) -> None:
    """Until the process is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Backend, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
