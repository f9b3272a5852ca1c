"""Chooses and makes the protocol of a client's connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..tls.listener import HTTP1, HTTP2
from .http_protocol import HttpProtocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from .client_connection import ClientConnection
    from .edge import Edge

MakeConnection = Callable[..., "ClientConnection"]


def _http2(*args: Any) -> ClientConnection:
    from .http2.http2_protocol import Http2Protocol  # its engine may not be installed

    return Http2Protocol(*args)


BY_ALPN: dict[str | None, MakeConnection] = {None: HttpProtocol, HTTP1: HttpProtocol, HTTP2: _http2}
"""Makes the protocol for each name that a TLS handshake can agree on (ALPN, RFC 7301); None: on
no name, or without TLS."""


class ProtocolFactory:
    """Makes the protocol of each connection of one edge; uvicorn gets it as `http`."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        alpn: str | None = None,
    ) -> ClientConnection:
        """Without `alpn` this is the signature of uvicorn's protocol classes."""
        return BY_ALPN[alpn](self.edge, config, server_state, app_state, _loop)
