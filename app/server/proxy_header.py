"""The PROXY protocol: a TCP balancer names its client before the client's first byte.

Versions 1 and 2 as HAProxy specifies them (proxy-protocol.txt, "The PROXY
protocol", versions 1 & 2). Only trusted balancers may connect to such a
listener. If it served clients without a header as well, anybody could claim
any address.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import cast

from ..fields.networks import UNIX, Peers
from .client_connection import ClientConnection
from .peer import HostPort, address_of, is_gone

logger = logging.getLogger("hipache.server")

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MAX_V1 = 107
"""Bytes of the longest line of version 1, with its CR and LF."""
MAX_V2 = 4096
"""Bytes of the longest version 2 header that we read; its extensions are skipped."""
HEADER_TIMEOUT = 10.0
"""Seconds for the header to arrive."""
_LOCAL, _PROXY = 0x20, 0x21

Claim = tuple[HostPort, HostPort] | None
"""Client and server, or None if the balancer speaks for itself (a health check)."""


class Incomplete(Exception):
    """More bytes may make it a header."""


def parse(data: bytes) -> tuple[Claim, bytes]:
    """The claim at the beginning of `data`, and the bytes behind it.

    Raises Incomplete, or ValueError if it is no header.

    >>> parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\\r\\nGET")
    ((('192.0.2.1', 1234), ('192.0.2.2', 80)), b'GET')
    """
    if data[:12] == SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _parse_v1(data)
    raise ValueError("no PROXY header")


def _parse_v1(data: bytes) -> tuple[Claim, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if len(line) + 2 > MAX_V1:
        raise ValueError("the PROXY line is too long")
    if not end:
        raise Incomplete
    words = line.decode("ascii").split(" ")
    if words[1] == "UNKNOWN":
        return None, rest
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("malformed PROXY line")
    family = socket.AF_INET if words[1] == "TCP4" else socket.AF_INET6
    client, server = (_checked(family, word) for word in words[2:4])
    return ((client, _port(words[4])), (server, _port(words[5]))), rest


def _checked(family: int, text: str) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text))
    except OSError:
        raise ValueError("malformed address in the PROXY line") from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535 or (text[0] == "0" and text != "0"):
        raise ValueError("malformed port in the PROXY line")
    return int(text)


def _parse_v2(data: bytes) -> tuple[Claim, bytes]:
    if len(data) < 16:
        raise Incomplete
    command, family, size = struct.unpack_from("!BBH", data, 12)
    if command not in (_LOCAL, _PROXY):
        raise ValueError("unknown version or command in the PROXY header")
    if size > MAX_V2:
        raise ValueError("the PROXY header is too long")
    if len(data) < 16 + size:
        raise Incomplete
    body, rest = data[16 : 16 + size], data[16 + size :]
    if command == _LOCAL or family >> 4 not in (1, 2):  # unix sockets have no address to tell
        return None, rest
    kind, length = (socket.AF_INET, 4) if family >> 4 == 1 else (socket.AF_INET6, 16)
    if family & 0xF != 1 or size < 2 * length + 4:
        raise ValueError("the PROXY header is too short for its addresses")
    ports = struct.unpack_from("!HH", body, 2 * length)
    client = socket.inet_ntop(kind, body[:length])
    server = socket.inet_ntop(kind, body[length : 2 * length])
    return ((client, ports[0]), (server, ports[1])), rest


class ProxyHeader(asyncio.Protocol):
    """Reads the header of one connection, then makes way for its HTTP protocol."""

    def __init__(self, make: Callable[[], ClientConnection], trusted: Peers) -> None:
        self._make = make
        self._trusted = trusted
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if is_gone(transport):
            self._transport.abort()  # it could claim any address without being asked for its own
            return
        peer = address_of(transport)
        # A unix socket has no address to judge by: its folder says who may connect.
        if peer != UNIX and not self._trusted.match(peer):
            logger.warning("PROXY header refused from=%s: not in trustedProxies", peer)
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEADER_TIMEOUT, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            claim, rest = parse(self._data)
        except Incomplete:
            return
        except ValueError as exc:
            peer = address_of(self._transport)
            logger.warning("PROXY header refused from=%s: %s", peer, exc)
            self._transport.abort()
            return
        self._stop()
        protocol = self._make()
        if claim is not None:
            protocol.origin = claim
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if rest:
            protocol.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
