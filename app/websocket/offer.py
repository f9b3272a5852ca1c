"""Our side of the opening handshake with a backend, and what its answer must agree with."""

from __future__ import annotations

import os

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from ..config.structs import ServerConfig
from ..fields.headers import RawHeaders
from .frames import SMALL, small_frame
from .held_messages import longest_message

_NOWHERE = WebSocketURI(secure=False, host="", port=80, path="", query="")
MASKS = 64
"""Bytes of random masks that are asked for at once, four to a frame."""
_HANDSHAKE = b"sec-websocket-"
SWITCH: RawHeaders = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


class TunnelOffer(ClientProtocol):
    """The client's own handshake: its key, its extensions, its subprotocols.

    The ends agree with each other. This only checks that the backend chose among the
    client's offers: an answer that no client would take becomes a 502.
    """

    def __init__(self, headers: RawHeaders) -> None:
        super().__init__(_NOWHERE, subprotocols=_offered(headers) or None, state=OPEN)
        self.key = _values(headers, b"sec-websocket-key")[0]
        self._extensions = _values(headers, b"sec-websocket-extensions")

    def process_extensions(self, headers: Headers) -> list[Extension]:
        offered = {name for value in self._extensions for name, _ in parse_extension(value)}
        for value in headers.get_all("Sec-WebSocket-Extensions"):
            for name, _ in parse_extension(value):
                if name not in offered:
                    raise NegotiationError(f"extension {name} was not offered")
        return []


class RelayOffer(ClientProtocol):
    """Our own handshake for the client's subprotocols; then frames of our own.

    A message that is longer than `config` allows ends the backend's connection with 1009.
    """

    def __init__(self, headers: RawHeaders, config: ServerConfig) -> None:
        super().__init__(
            _NOWHERE,
            subprotocols=_offered(headers) or None,
            extensions=[_DEFLATE] if config.web_socket_compression else None,
            max_size=longest_message(config) or None,
            state=OPEN,
        )
        self._masks = b""

    def send_frame(self, frame: Frame) -> None:
        if self.extensions or len(frame.data) > SMALL:
            super().send_frame(frame)
            return
        # The library asks the kernel for each mask: a tenth of what a small message cost.
        masks = self._masks or os.urandom(MASKS)
        self._masks = masks[4:]
        first = frame.fin << 7 | frame.opcode
        self.writes.append(small_frame(first, bytes(frame.data), masks[:4]))

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # it may come inside a message (RFC 6455 §5.5.1)
        super().recv_frame(frame)

    def fields(self, headers: RawHeaders) -> RawHeaders:
        """`headers` with our handshake in place of the client's."""
        kept = without_handshake(headers)
        for name, value in self.connect().headers.raw_items():
            if name.lower() not in ("host", "connection", "upgrade"):
                kept.append((name.lower().encode("ascii"), value.encode("latin-1")))
        return kept


# What uvicorn's server side takes too: 4 KiB windows instead of 32.
_DEFLATE = ClientPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)


def without_handshake(headers: RawHeaders) -> RawHeaders:
    """`headers` without what belongs to one leg's own handshake."""
    return [(name, value) for name, value in headers if not name.startswith(_HANDSHAKE)]


def _values(headers: RawHeaders, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _offered(headers: RawHeaders) -> list[Subprotocol]:
    """The client's subprotocols; none is no field, an empty one is refused by strict servers."""
    values = ",".join(_values(headers, b"sec-websocket-protocol")).split(",")
    return [Subprotocol(token) for value in values if (token := value.strip(" \t"))]
