"""A backend that speaks HTTP/2 by another engine (h2), and does what a test tells it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    PingReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes, Settings

Fields = list[tuple[bytes, bytes]]


@dataclass
class Asked:
    """One request, as far as it has come."""

    link: Link
    number: int
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    def get(self, name: bytes) -> bytes | None:
        return dict(self.fields).get(name)

    def head(self, *fields: tuple[bytes, bytes], status: int = 200, end: bool = False) -> None:
        sent = [(b":status", b"%d" % status), *fields]
        self.link.say(self.link.engine.send_headers, self.number, sent, end_stream=end)

    def body_part(self, data: bytes, *, end: bool = False) -> None:
        self.link.say(self.link.engine.send_data, self.number, data, end_stream=end)

    def end(self, *trailers: tuple[bytes, bytes]) -> None:
        if trailers:
            self.link.say(self.link.engine.send_headers, self.number, trailers, end_stream=True)
        else:
            self.link.say(self.link.engine.end_stream, self.number)

    def reset_by(self, code: int) -> None:
        self.link.say(self.link.engine.reset_stream, self.number, code)


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, backend: Http2Backend) -> None:
        self.backend = backend
        self.engine = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.asked: dict[int, Asked] = {}
        self.closed = False
        self.pings = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.backend.links.append(self)
        settings = {SettingCodes.MAX_CONCURRENT_STREAMS: self.backend.most}
        if self.backend.tunnels:
            settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self.engine.local_settings = Settings(client=False, initial_values=settings)
        self.say(self.engine.initiate_connection)
        self.transport.write(self.backend.greeting)

    def say(self, what: Callable[..., None], *args: Any, **options: Any) -> None:
        what(*args, **options)
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.engine.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.engine.receive_data(data):
            self.on(event)
        self.flush()
        self.backend.changed()

    def on(self, event: Any) -> None:
        self.pings += isinstance(event, PingReceived)
        if isinstance(event, RequestReceived):
            asked = Asked(self, event.stream_id, list(event.headers))
            self.asked[event.stream_id] = asked
            self.backend.requests.append(asked)
            self.backend.on_request(asked)
            return
        asked = self.asked.get(getattr(event, "stream_id", 0) or 0)
        if asked is None:
            return
        if isinstance(event, DataReceived):
            asked.body += event.data
            if self.backend.reads:
                size = event.flow_controlled_length
                self.engine.acknowledge_received_data(size, event.stream_id)
            self.backend.on_data(asked, event.data)
        elif isinstance(event, TrailersReceived):
            asked.trailers = list(event.headers)
        elif isinstance(event, StreamReset):
            asked.reset = event.error_code
        elif isinstance(event, StreamEnded):
            asked.ended = True
            self.backend.on_end(asked)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.backend.changed()


def echo(asked: Asked) -> None:
    """Answer with what was sent."""
    asked.head((b"x-path", asked.get(b":path") or b""))
    asked.body_part(asked.body, end=True)


class Http2Backend:
    """Its requests, in the order in which they came."""

    url: str

    def __init__(self, most: int) -> None:
        self.most = most
        self.reads = True
        self.tunnels = False
        """Whether WebSockets are taken (RFC 8441)."""
        self.greeting = b""
        """What follows the SETTINGS."""
        self.links: list[Link] = []
        self.requests: list[Asked] = []
        self.on_request: Callable[[Asked], None] = lambda asked: None
        self.on_data: Callable[[Asked, bytes], None] = lambda asked, data: None
        self.on_end: Callable[[Asked], None] = echo
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, holds: Callable[[], Any]) -> None:
        """Return when `holds` is true of what has come."""
        async with asyncio.timeout(10):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def speaking_http2(
    *, most: int = 100, tls: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncIterator[Http2Backend]:
    """A backend that takes `most` requests at once on a connection; its `url` is in place.

    With `path` it listens on that socket.
    """
    backend = Http2Backend(most)
    loop = asyncio.get_running_loop()
    if path is not None:
        server = await loop.create_unix_server(lambda: Link(backend), path)
        backend.url = f"h2c+unix:{path}"
    else:
        server = await loop.create_server(lambda: Link(backend), "127.0.0.1", 0, ssl=tls)
        scheme = "h2c" if tls is None else "https"
        backend.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield backend
    finally:
        server.close()
        for link in backend.links:
            link.transport.abort()
        await server.wait_closed()
