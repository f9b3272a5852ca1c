"""What uvicorn cannot do: TLS on a port beside HTTP, and the PROXY protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import uvicorn

from .accept_queue import AcceptQueue
from .accept_share import AcceptShare
from .acceptor import TLSAcceptor
from .client_connection import ClientConnection
from .listeners import ListeningSocket
from .protocols import ProtocolFactory
from .proxy_header import ProxyHeader
from .running import edge_of

HANDSHAKE_TIMEOUT = 10.0
"""Seconds from a connection's start to the end of its TLS handshake."""
GOODBYE_TIMEOUT = 1.0
"""Seconds that a client has to answer the end of TLS, which hardly any does."""


async def accept_on(server: uvicorn.Server, listener: ListeningSocket) -> asyncio.Server:
    """Let `server` accept connections on a socket with TLS or the PROXY protocol."""
    make = partial(_protocol, server)
    trusted = listener.proxied_by
    if trusted is not None:
        return await _listen(server, lambda: ProxyHeader(make, trusted), listener.sock)
    assert listener.tls is not None
    edge = edge_of(server)
    assert edge is not None
    before = edge.before_handshake
    acceptor = TLSAcceptor(
        edge, make, listener.sock, listener.tls.current,
        timeout=HANDSHAKE_TIMEOUT, goodbye=GOODBYE_TIMEOUT,
        before=partial(before, listener.tls.has) if before is not None else None,
    )  # fmt: skip
    acceptor.start()
    return cast(asyncio.Server, acceptor)


def accept_queue(
    server: uvicorn.Server, sockets: Sequence[socket.socket], share: AcceptShare
) -> AcceptQueue:
    """What looks after the queues of these sockets, on which `server` accepts."""
    listen = partial(_listen, server, partial(_protocol, server))
    queue = AcceptQueue(sockets, listen, lambda: share.alone)
    share.on_company = queue.close
    return queue


async def _listen(
    server: uvicorn.Server, make: Callable[[], asyncio.BaseProtocol], sock: socket.socket
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(make, sock=sock, backlog=server.config.backlog)


def _protocol(server: uvicorn.Server, alpn: str | None = None) -> ClientConnection:
    """One connection's protocol, as uvicorn itself makes it (uvicorn/server.py, startup)."""
    make = cast(object, server.config.http_protocol_class)
    assert isinstance(make, ProtocolFactory)
    return make(server.config, server.server_state, server.lifespan.state, alpn=alpn)
