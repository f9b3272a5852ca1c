"""Hands a connection over from HTTP/1: to the WebSocket class, or to HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client_connection import ClientConnection
    from .request_head import RequestHead

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 sends first (RFC 9113 §3.4)."""


def speak_http2(connection: ClientConnection, data: bytes) -> None:
    """Let HTTP/2 take over a connection that began with its preface; `data` is all that came."""
    from .http2.http2_protocol import Http2Protocol  # its engine may not be installed

    edge, state = connection.edge, connection.server_state
    successor = Http2Protocol(edge, connection.config, state, connection.app_state, connection.loop)
    successor.origin = connection.origin
    edge.replace(connection, successor)
    state.connections.discard(connection)
    connection.transport.set_protocol(successor)
    successor.connection_made(connection.transport)
    successor.data_received(data)


def upgrade(connection: ClientConnection, request: RequestHead, rest: bytes) -> None:
    """Give the transport of `connection` to the server's WebSocket class.

    A class with `handle_upgrade` gets the parsed request, the bytes behind it, the
    peer, and what to call at the end; any other reads the head again, as uvicorn's do.
    """
    config, state, peer = connection.config, connection.server_state, connection.peer
    state.connections.discard(connection)
    make: Any = config.ws_protocol_class
    protocol = make(config=config, server_state=state, app_state=connection.app_state)
    connection.transport.set_protocol(protocol)
    protocol.connection_made(connection.transport)
    protocol.client, protocol.server = peer.client, peer.server
    if hasattr(protocol, "handle_upgrade"):
        refusal = protocol.handle_upgrade(request, rest, peer, connection.release)
        if refusal:
            connection.edge.on_refusal(peer, request.beginning, refusal)
    else:
        connection.release()
        lines = [b"GET %b HTTP/1.1" % request.target, *map(b": ".join, request.headers)]
        protocol.data_received(b"\r\n".join([*lines, b"\r\n"]) + rest)
