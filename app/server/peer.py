"""The two ends of a client's connection, the same for all of its requests."""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..fields.networks import UNIX
from ..tls.client_subject import subject

if TYPE_CHECKING:
    from asyncio import BaseTransport

HostPort = tuple[str, int]
"""An IP address and a port."""
PEER = "hipache.peer"
"""The scope extension that holds a Peer."""


class Peer(msgspec.Struct, frozen=True):
    """Client, server, and what the TLS handshake has established.

    A frozen dataclass would take ten times as long to make, and each connection makes one.
    """

    client: HostPort | None
    """None over a unix socket."""
    server: HostPort | None
    """The address that the client connected to."""
    address: str = ""
    """The client's IP address, `unix:` over a unix socket; empty if nobody knows it."""
    scheme: str = "http"
    """`http` or `https`, for WebSockets too."""
    tls: str = ""
    """The version, `TLSv1.3`; empty without TLS."""
    subject: bytes | None = None
    """The subject of the client's verified certificate (RFC 4514), None without one."""


def peer_of(transport: BaseTransport, told: tuple[HostPort, HostPort] | None = None) -> Peer:
    """The peer of a new connection, whose TLS handshake is done.

    `told`: client and server as a trusted balancer names them.
    """
    of = transport.get_extra_info
    client, server = told or (_endpoint(of("peername")), _endpoint(of("sockname")))
    address = client[0] if client else address_of(transport)
    if not of("sslcontext"):
        return Peer(client, server, address)
    tls = of("ssl_object").version() or ""
    return Peer(client, server, address, "https", tls, subject(of("peercert")))


def is_gone(transport: BaseTransport) -> bool:
    """Whether the client of a new TCP connection has reset it already.

    Its bytes may still come, but the kernel no longer tells its address. The names of a unix
    socket are no addresses at either end.
    """
    of = transport.get_extra_info
    return _endpoint(of("peername")) is None and _endpoint(of("sockname")) is not None


def address_of(transport: BaseTransport) -> str:
    """The address of the other end: `unix:` for a unix socket, empty if it has gone already."""
    if end := _endpoint(transport.get_extra_info("peername")):
        return end[0]
    sock: socket.socket | None = transport.get_extra_info("socket")
    return UNIX if sock is not None and sock.family == socket.AF_UNIX else ""


def peer_in(scope: MutableMapping[str, Any]) -> Peer:
    """The peer in an ASGI scope: our own server's Peer, else made of the standard keys."""
    ours: Peer | None = (scope.get("extensions") or {}).get(PEER)
    if ours is not None:
        return ours
    client, server = _endpoint(scope.get("client")), _endpoint(scope.get("server"))
    secure = scope.get("scheme") in ("https", "wss")
    address = client[0] if client else UNIX if _is_unix(scope.get("server")) else ""
    return Peer(client, server, address, "https" if secure else "http")


def _endpoint(name: object) -> HostPort | None:
    """None for the name of a unix socket. Some servers (granian) write the port as text."""
    if type(name) is tuple and len(name) == 2 and type(name[1]) is int:
        return name  # as both event loops give it for IPv4
    if isinstance(name, (tuple, list)) and len(name) > 1:
        host, port = name[0], name[1]
        if isinstance(port, int):
            return str(host), port
        if isinstance(port, str) and port.isdecimal() and len(port) <= 5:
            return str(host), int(port)
    return None


def _is_unix(server: object) -> bool:
    """Whether `server` of an ASGI scope is the path of a unix socket, and no port."""
    return isinstance(server, tuple | list) and len(server) == 2 and server[1] is None
