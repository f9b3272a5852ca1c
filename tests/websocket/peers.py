"""Raw ends of a WebSocket: scripted backends and clients that may break every rule."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close, Frame, Opcode

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3


class Got(NamedTuple):
    """One frame as it came, unmasked."""

    opcode: Opcode
    data: bytes
    fin: bool = True
    rsv1: bool = False


class Wire:
    """One end's TCP connection; `mask` is true for a client's."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mask: bool
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.mask = mask
        self.head = b""
        self.done = asyncio.Event()
        """A backend's script has run to its end: mostly that the other side is gone."""

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def frame(self, opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> None:
        self.write(Frame(opcode, data, fin).serialize(mask=self.mask))

    def close_frame(self, code: int | None, reason: str = "") -> None:
        self.frame(Opcode.CLOSE, b"" if code is None else Close(code, reason).serialize())

    async def read_head(self) -> bytes:
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        return self.head

    async def read_frame(self) -> Got:
        """The next frame; asyncio.IncompleteReadError at the end of the stream."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        assert bool(second & 0x80) != self.mask, "clients mask, servers do not"
        key = await self.reader.readexactly(4) if second & 0x80 else bytes(4)
        data = await self.reader.readexactly(length)
        mask = (key * (length // 4 + 1))[:length]
        whole = int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")
        return Got(
            Opcode(first & 15), whole.to_bytes(length, "big"), bool(first & 128), bool(first & 64)
        )

    async def read_close(self) -> tuple[int | None, str]:
        """Code and reason of the close frame, which must be next."""
        frame = await self.read_frame()
        assert frame.opcode is Opcode.CLOSE, frame
        if not frame.data:
            return None, ""
        close = Close.parse(frame.data)
        return close.code, close.reason

    async def rest(self) -> bytes:
        """What still comes until the other side ends or resets the connection."""
        data = b""
        with suppress(ConnectionError):
            while more := await self.reader.read(65536):
                data += more
        return data

    def reset(self) -> None:
        """Vanish with a RST."""
        if not self.writer.is_closing():
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def field(head: bytes, name: bytes) -> bytes | None:
    """The first field of that name in a raw head."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return None


def accept_key(head: bytes) -> bytes:
    return base64.b64encode(
        hashlib.sha1((field(head, b"sec-websocket-key") or b"") + GUID).digest()
    )


def switching(head: bytes, *fields: bytes) -> bytes:
    """The 101 for the request in `head`, with more fields."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_key(head),
        *fields,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Backend:
    """A scripted backend and every connection it has had."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wires: list[Wire] = []
        self.arrived: asyncio.Queue[Wire] = asyncio.Queue()
        self.server: Server | None = None

    def vanish(self) -> None:
        """Cut every connection of an echo server."""
        assert self.server is not None
        for connection in self.server.connections:
            connection.transport.abort()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Script = Callable[[Wire], Awaitable[None]]


@asynccontextmanager
async def backend(script: Script) -> AsyncIterator[Backend]:
    """Runs `script` for each connection; the connection is cut behind the script's end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        wire = Wire(reader, writer, mask=False)
        here.wires.append(wire)
        here.arrived.put_nowait(wire)
        try:
            await script(wire)
            writer.close()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            wire.done.set()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    here = Backend(server.sockets[0].getsockname()[1])
    try:
        yield here
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def after_handshake(script: Script, *fields: bytes) -> Script:
    """`script`, once the connection has become a WebSocket."""

    async def whole(wire: Wire) -> None:
        wire.write(switching(await wire.read_head(), *fields))
        await script(wire)

    return whole


def answers(data: bytes) -> Script:
    """Whatever is asked, `data` and the end."""

    async def script(wire: Wire) -> None:
        await wire.read_head()
        wire.write(data)

    return script


async def silence(wire: Wire) -> None:
    """Reads, says nothing, until the other side ends."""
    await wire.rest()


async def echo(connection: ServerConnection) -> None:
    """The library's server says back what it hears."""
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


@asynccontextmanager
async def echo_backend(**options: object) -> AsyncIterator[Backend]:
    """A backend that is a real WebSocket server; options are `websockets.serve`'s."""
    options = {"max_size": None, "compression": None, **options}
    async with serve(echo, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type]
        here = Backend(port_of(server))
        here.server = server
        yield here


def port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port
