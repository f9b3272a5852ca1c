"""The ASGI scope of a request, whatever the version of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .exchange import Exchange
from .peer import PEER

if TYPE_CHECKING:
    from .request_head import RequestHead

EXCHANGE = "hipache.exchange"
"""The scope extension that holds the Exchange."""
TUNNEL = "hipache.tunnel"
"""The extension for byte tunnels. Where a WebSocket's scope offers it, the application may answer
the handshake with a message of this type in place of `websocket.accept`: `headers` are all fields
of the 101, `tunnel` a Tunnel, `backend` a connected transport and `first` the bytes it has already
sent."""


_OFFERED: dict[str, Any] = {}


def asgi_scope(
    request: RequestHead, exchange: Exchange, root_path: str, state: dict[str, Any]
) -> dict[str, Any]:
    """The scope; its `hipache.target` has the target's exact bytes, an empty query too."""
    raw_path, _, query = request.target.partition(b"?")
    path = raw_path.decode("ascii")
    peer = exchange.peer
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version,
        "server": peer.server,
        "client": peer.client,
        "scheme": peer.scheme,
        "root_path": root_path,
        "method": request.method.decode("ascii"),
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": request.headers,
        "state": state.copy(),
        "extensions": {
            EXCHANGE: exchange,
            PEER: peer,
            "hipache.target": request.target,
            "http.response.trailers": _OFFERED,
        },
    }
