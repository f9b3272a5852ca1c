"""uvicorn's WebSocket protocol with its faults mended, and with a way out to a byte tunnel.

The stock class never answers a handshake that its parser refuses, closes every
socket at the start of a drain, reports a broken connection as 1005, and keeps a
refusal's whole body in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, cast

from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.utils import ClientDisconnected
from websockets.datastructures import Headers
from websockets.http11 import Request

from ..config.structs import ServerConfig
from ..fields.headers import RawHeaders, field
from ..server.dates import date_now
from ..server.peer import PEER, Peer
from ..server.refusal import Refusal, plain_response, status_line
from ..server.request_head import RequestHead
from ..server.scope import TUNNEL
from .asgi_messages import MessageProtocol, logger
from .frames import ABNORMAL
from .held_messages import longest_message
from .read_budget import ReadBudget
from .server_frames import FramesOnly, ServerFrames
from .tcp_keep_alive import keep_alive
from .tunnel import Tunnel

HELD = "hipache.held"
"""In a `websocket.accept`: the HeldBytes that what is held for the client counts against."""

LONGEST_TIMER = 1e9
"""Seconds, in place of no limit: a timer cannot be infinite."""

MAX_EARLY = 65536
"""Bytes a client may send before its handshake is answered; RFC 6455 §4.1 allows none."""


def install(server: UvicornConfig, config: ServerConfig) -> None:
    """Have a uvicorn server, not yet listening, use this class as `config` says."""
    # uvicorn wants a class and only ever calls it.
    server.ws_protocol_class = partial(  # type: ignore[assignment]
        WebSocketProtocol, close_timeout=config.web_socket_close_timeout, budget=ReadBudget()
    )
    server.ws_max_size = longest_message(config)
    server.ws_ping_interval = server.ws_ping_timeout = config.web_socket_ping
    server.ws_per_message_deflate = config.web_socket_compression
    # Both libraries log every handshake at level info; the access log has every session.
    logger.setLevel(max(logging.WARNING, logger.getEffectiveLevel()))


HELD_IN_A_TUNNEL = (
    "close_timer", "connections", "handshake_complete", "initial_response", "logger", "release",
    "tasks", "transport",
)  # fmt: skip
"""What uvicorn looks at when the application returns, and what the tunnel's end needs."""


class WebSocketProtocol(MessageProtocol):
    """One client's socket: the handshake, then either the relay or a tunnel's leg."""

    def __init__(self, *args: Any, close_timeout: float = 10.0, **kwargs: Any) -> None:
        """`close_timeout`: seconds that the client of a relay has to answer a close frame."""
        super().__init__(*args, **kwargs)
        self.close_timeout = close_timeout or LONGEST_TIMER
        self.conn = self.frames_of(ServerFrames)
        self.early = b""
        self.peer: Peer | None = None
        self.release: Callable[[], None] | None = None
        self.refusing: int | None = None  # status of the refusal under way
        self.refused: Refusal | None = None  # for a handshake that is not valid
        self.chunked = False

    def handle_upgrade(
        self, request: RequestHead, rest: bytes, peer: Peer, release: Callable[[], None]
    ) -> Refusal | None:
        """Take over a GET with `Upgrade: websocket` that the HTTP side has parsed and checked.

        `rest` is what came behind the head; `release` is called when the
        connection is gone, so that connections can be counted. Returns the refusal,
        if the handshake was refused before the application heard of it.
        """
        self.early = rest
        self.peer = peer
        self.release = release
        self.conn = self.frames_of(FramesOnly)
        fields = Headers(
            (name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers
        )
        self.handle_connect(Request(request.target.decode("ascii"), fields))
        return self.refused

    def handle_connect(self, event: Request) -> None:
        version = event.headers.get_all("Sec-WebSocket-Version")
        if version and version != ["13"]:
            self.refuse(426, "WebSocket version 13 only", b"sec-websocket-version: 13\r\n")
            return
        super().handle_connect(event)
        if self.close_sent:
            why, response = self.conn.handshake_exc, self.response
            self.refused = Refusal(response.status_code, str(why), bytes(response.body or b""))
        else:
            extensions = cast(dict[str, object], self.scope["extensions"])
            extensions[TUNNEL] = {}
            extensions["hipache.target"] = event.path.encode("ascii")
            extensions[PEER] = self.peer

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete:
            super().data_received(data)
        elif self.handshake_initiated:
            self.early += data
            if len(self.early) > MAX_EARLY:
                self.transport.pause_reading()
        else:
            self.conn.receive_data(data)
            if self.conn.handshake_exc is not None:
                self._refuse_broken_handshake()
            else:
                self.handle_events()

    def _refuse_broken_handshake(self) -> None:
        """The library has an answer for a handshake that is too large, and for no other."""
        answer = b"".join(self.conn.data_to_send())
        self.handshake_complete = self.close_sent = True
        self.transport.write(answer or plain_response(400, "malformed WebSocket handshake"))
        self.transport.close()

    def refuse(self, status: int, text: str, fields: bytes = b"") -> None:
        """Answer the handshake ourselves and close."""
        self.handshake_complete = self.close_sent = True
        self.refused = Refusal(status, text)
        self.transport.write(plain_response(status, text, fields=fields))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.take_all()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL})
        super().connection_lost(exc)
        self.release_held()
        if self.release is not None:
            self.release()

    def shutdown(self) -> None:
        """uvicorn calls this at the start of a drain: a socket lives on until its grace ends."""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        kind: str = message["type"]
        if kind == "websocket.send":
            await self.send_message(message)
        elif kind == TUNNEL:
            self._hand_over(message)
        elif kind == "websocket.http.response.start":
            self._start_refusal(message)
        elif kind == "websocket.http.response.body":
            await self._refusal_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "websocket.close" and self.close_sent:
            raise ClientDisconnected  # a broken frame or a missing pong has closed it meanwhile
        else:
            await super().send(message)  # type: ignore[arg-type]
            if kind == "websocket.accept":
                self.held = message.get(HELD)
                keep_alive(self.transport)
                self._take_early()

    def _take_early(self) -> None:
        self.transport.resume_reading()
        early, self.early = self.early, b""
        if early:
            self.data_received(early)

    def _hand_over(self, message: MutableMapping[str, Any]) -> None:
        """Answer 101 and leave the connection to the tunnel."""
        if self.disconnected or self.transport.is_closing():
            raise ClientDisconnected
        tunnel: Tunnel = message["tunnel"]
        lines = b"".join(b"%b: %b\r\n" % header for header in message["headers"])
        self.transport.write(b"%b%b\r\n" % (status_line(101), lines))
        self.handshake_complete = True
        self.connections.discard(self)
        self.connections.add(tunnel.client)  # type: ignore[arg-type]
        tunnel.ended.add_done_callback(partial(self._tunnel_ended, tunnel))
        tunnel.join(self.transport, message["backend"], self.early, message["first"])
        # 5,000 idle sockets should not hold 5,000 frame parsers and queues without use.
        self.__dict__ = {name: self.__dict__[name] for name in HELD_IN_A_TUNNEL}

    def _tunnel_ended(self, tunnel: Tunnel, _: object) -> None:
        self.connections.discard(tunnel.client)
        if self.release is not None:
            self.release()

    def _start_refusal(self, message: MutableMapping[str, Any]) -> None:
        if self.disconnected:
            raise ClientDisconnected
        self.refusing = status = message["status"]
        headers: RawHeaders = [*self.default_headers, *message.get("headers", ())]
        self.chunked = status not in (204, 304) and field(headers, b"content-length") is None
        if self.chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        headers.append((b"connection", b"close"))
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        if field(headers, b"date") is None:
            lines += date_now() + b"\r\n"
        self.handshake_complete = self.close_sent = True
        self.transport.write(b"%b%b\r\n" % (status_line(status, message.get("reason", b"")), lines))

    async def _refusal_body(self, body: bytes, more: bool) -> None:
        await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        if self.refusing not in (204, 304):
            if self.chunked and body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            self.transport.write(body)
            if not more and self.chunked:
                self.transport.write(b"0\r\n\r\n")
        if not more:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL})
            self.transport.close()
