"""A WebSocket on a stream of HTTP/2 (RFC 8441), as ASGI sees it up to its tunnel."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from os import urandom
from typing import TYPE_CHECKING, Any

from ...fields.headers import RawHeaders
from ...http2.tunnel_transport import TunnelTransport
from ..exchange import Exchange, Message
from ..scope import TUNNEL, asgi_scope

if TYPE_CHECKING:
    from ...fields.trailers import Trailers
    from ..peer import Peer
    from ..request_head import RequestHead
    from .http2_stream import Http2Stream

ABNORMAL = 1006
"""The code of a session that ended without a close frame (RFC 6455 §7.4.1)."""
_OF_THE_HANDSHAKE = frozenset({b"sec-websocket-accept", b"content-length"})
_DENIAL = "websocket.http.response."


def http1_handshake(headers: RawHeaders) -> RawHeaders:
    """The fields of the same handshake over HTTP/1.1, which needs a key (RFC 6455 §4.1)."""
    fields = [field for field in headers if field[0] != b"sec-websocket-key"]
    key = b64encode(urandom(16))
    return [
        *fields,
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-key", key),
    ]


class WebSocketExchange(Exchange):
    """The application answers with TUNNEL, or with an ordinary answer that refuses."""

    __slots__ = ("_connected", "_transport")

    stream: Http2Stream

    def __init__(
        self,
        stream: Http2Stream,
        peer: Peer,
        request: RequestHead,
        tasks: set[asyncio.Task[None]],
        below: asyncio.Transport,
    ) -> None:
        """`below` carries the whole connection."""
        super().__init__(stream, peer, request, tasks)
        self._connected = False
        self._transport = TunnelTransport(stream, below)

    # What the application does.

    async def receive(self) -> Message:
        """`websocket.connect`, and a disconnect once the client has gone."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self.disconnected and not self.stream.complete:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return {"type": "websocket.disconnect", "code": ABNORMAL}

    async def send(self, message: Message) -> None:
        """A tunnel, or a refusal (ASGI's WebSocket Denial Response)."""
        kind: str = message["type"]
        if kind.startswith(_DENIAL):
            if 200 <= message.get("status", 0) < 300:
                message = {**message, "status": 502}  # 2xx opens the WebSocket (RFC 8441 §5)
            await super().send({**message, "type": f"http.response.{kind.removeprefix(_DENIAL)}"})
        elif kind == TUNNEL and not self.disconnected:
            self._join(message)
        elif kind == "websocket.close" and not self.stream.started:
            self.stream.refuse(403, "the WebSocket was refused")
        else:
            await super().send(message)  # which says what is wrong with it

    def _join(self, message: Message) -> None:
        fields = [field for field in message["headers"] if field[0] not in _OF_THE_HANDSHAKE]
        self.stream.send_head(200, fields, None)
        message["tunnel"].join(self._transport, message["backend"], b"", message["first"])

    # What the client does.

    def feed(self, data: bytes) -> None:
        self._transport.received(data)

    def end_body(self, trailers: Trailers = ()) -> None:
        super().end_body(trailers)
        self._transport.ended()

    def writable(self) -> None:
        super().writable()
        self._transport.writable()

    def _gone(self) -> None:
        super()._gone()
        self._transport.lost()


def web_socket_scope(
    request: RequestHead, exchange: Exchange, root_path: str, state: dict[str, Any]
) -> dict[str, Any]:
    """The scope of a handshake; the application may answer it with a TUNNEL."""
    scope = asgi_scope(request, exchange, root_path, state)
    del scope["method"]
    offered = [v for n, v in request.headers if n == b"sec-websocket-protocol"]
    names = b",".join(offered).decode("latin-1").split(",")
    extensions = {TUNNEL: {}, "websocket.http.response": {}, **scope["extensions"]}
    return {
        **scope,
        "type": "websocket",
        "scheme": "wss" if exchange.peer.scheme == "https" else "ws",
        "subprotocols": [name.strip() for name in names if name.strip()],
        "extensions": extensions,
    }
