"""The name that a client asks for, read before its handshake begins. The bytes stay unread."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress

LARGEST_RECORD = 16_384 + 5
"""Bytes of one TLS record with its head (RFC 8446 §5.1)."""
USUAL = 4096
"""Bytes that nearly every ClientHello fits into."""
RECORD_HEAD = 5
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


_NAME_IN_PASSING = re.compile(rb"\0\0\0.\0.\0\0(.)([a-zA-Z0-9._-]+)", re.S)
"""The extension with one name of at most 253 octets: kind, length, list's length, kind, length."""


def come_already(sock: socket.socket, size: int = USUAL) -> bytes | None:
    """What has come on `sock` and nobody has read; None if nothing has. A client that has gone, or
    has failed, leaves an empty text."""
    try:
        return sock.recv(size, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def likely_name(data: bytes) -> bytes:
    """The name in a ClientHello as the client writes it, found by its looks in half a microsecond.

    It may be something else, or missing, so it is good for nothing but to see that nobody need
    look closer: OpenSSL reads the name itself.
    """
    found = _NAME_IN_PASSING.search(data)
    return found[2][: found[1][0]] if found is not None else b""


async def asked_name(sock: socket.socket) -> str | None:
    """The name in the ClientHello that comes next on `sock`. Waits as long as the client does."""
    wanted = 0
    while True:
        if (data := come_already(sock, LARGEST_RECORD)) is not None:
            if len(data) < wanted:  # woken for fewer bytes: the client has ended
                return None
            missing = record_size(data)
            if missing <= len(data):
                return server_name(data)
            wanted = missing
        await _readable(sock, wanted := wanted or RECORD_HEAD)


async def _readable(sock: socket.socket, wanted: int) -> None:
    """Wait until so many bytes are there, or the client has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def record_size(data: bytes) -> int:
    """Bytes of the record that begins with these; what is no handshake needs no more.

    >>> record_size(bytes([22, 3, 1, 2, 0, 1])), record_size(b"GET / HTTP/1.1")
    (517, 0)
    """
    if not data or data[0] != _HANDSHAKE:
        return 0
    return RECORD_HEAD + (data[3] << 8 | data[4]) if len(data) >= RECORD_HEAD else RECORD_HEAD


def server_name(data: bytes) -> str | None:
    """The host name (RFC 6066 §3) in a whole record with a ClientHello (RFC 8446 §4.1.2)."""
    end = record_size(data)
    if not RECORD_HEAD + 39 <= end <= len(data) or data[RECORD_HEAD] != _CLIENT_HELLO:
        return None
    try:
        at = RECORD_HEAD + 4 + 2 + 32  # behind type, length, version and random
        at += 1 + data[at]  # session
        at += 2 + (data[at] << 8 | data[at + 1])  # ciphers
        at += 1 + data[at] + 2  # compression, and the length of all extensions
        while at + 4 <= end:
            kind, size = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
            at += 4
            if kind == _SERVER_NAME:
                return _host_name(data[at : min(at + size, end)])
            at += size
    except IndexError:  # a length that lies
        pass
    return None


def _host_name(names: bytes) -> str | None:
    at = 2
    while at + 3 <= len(names):
        kind, size = names[at], names[at + 1] << 8 | names[at + 2]
        name = names[at + 3 : at + 3 + size]
        if kind == _HOST_NAME:
            whole = len(name) == size and name.isascii()
            return name.decode("ascii").lower().removesuffix(".") if whole else None
        at += 3 + size
    return None
