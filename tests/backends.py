"""Backends that do as they are told, on real sockets of the loopback interface.

    async with answering(answer(b"hello")) as backend:
        ...                                # backend.url, backend.requests
    async with scripted(script) as backend:
        ...                                # script: async def (Conversation) -> None

Each ends with its `async with`: connections are closed, scripts cancelled.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LIMIT = 2**24


def answer(body: bytes = b"", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """An HTTP/1.1 answer with Content-Length. `fields` are whole lines: b"X-A: b"."""
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Received:
    """A request as the backend has read it."""

    head: bytes
    """Its bytes up to and with the empty line."""
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def line(self) -> tuple[bytes, bytes]:
        """Method and target."""
        method, target, _ = self.head.split(b"\r\n", 1)[0].split(b" ")
        return method, target

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names as they came, values stripped."""
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:-2]]
        return [(name, value.strip()) for name, _, value in lines]

    def get(self, name: bytes) -> bytes | None:
        """The first field of this name, in any case."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


class Conversation:
    """One connection, seen from the backend."""

    def __init__(
        self,
        backend: ScriptedBackend,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self.backend = backend
        self.reader = reader
        self.writer = writer
        self.number = number
        """0 for the first connection that was accepted."""

    async def head(self) -> Received:
        """The next request's head. Raises EOFError when the proxy has closed."""
        request = Received(await self.reader.readuntil(b"\r\n\r\n"))
        await self.backend._note(request)
        return request

    async def receive(self) -> Received:
        """The next request with its body, dechunked. Raises EOFError when the proxy has closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        request = Received(head)
        if (request.get(b"transfer-encoding") or b"").lower() == b"chunked":
            request = Received(head, await self._chunks(), await self._trailers())
        elif length := request.get(b"content-length"):
            request = Received(head, await self.reader.readexactly(int(length)))
        await self.backend._note(request)
        return request

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        return body

    async def _trailers(self) -> list[tuple[bytes, bytes]]:
        """Names as they came, values stripped."""
        trailers = []
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            trailers.append((name, value.strip()))
        return trailers

    async def send(self, data: bytes) -> None:
        """Send, and wait while the proxy does not read."""
        self.writer.write(data)
        await self.writer.drain()

    async def send_apart(self, pieces: Iterable[bytes]) -> None:
        """Send each piece in a segment of its own: the proxy reads it before the next one goes."""
        for piece in pieces:
            await self.send(piece)
            while _unread(self.writer):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the proxy has closed this connection; what it still sends is dropped."""
        try:
            while await self.reader.read(LIMIT):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        """Close in order (FIN)."""
        self.writer.close()

    def reset(self) -> None:
        """Close with RST, as a crashed process does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def _unread(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer's kernel has yet to acknowledge what was sent."""
    fd = writer.get_extra_info("socket").fileno()
    return fd >= 0 and fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)) != bytes(4)


Script = Callable[[Conversation], Awaitable[None]]


@dataclass
class ScriptedBackend:
    """What a test sees of a backend."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    accepted: int = 0
    """Connections so far."""
    most_open: int = 0
    """Connections open at the same time, at most."""
    failures: list[BaseException] = field(default_factory=list)
    """Exceptions of scripts, AssertionError for one; raised again at the end."""
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._open)

    async def until(self, condition: Callable[[ScriptedBackend], bool]) -> None:
        """Wait until `condition` holds: it is asked when a request or connection comes or goes."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _note(self, request: Received | None = None) -> None:
        async with self._changed:
            if request is not None:
                self.requests.append(request)
            self._changed.notify_all()


@asynccontextmanager
async def scripted(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    path: str | None = None,
    limit: int = LIMIT,
) -> AsyncIterator[ScriptedBackend]:
    """A backend that runs `script` on each connection and then closes it.

    A script that meets the end of the connection may let EOFError or
    ConnectionError pass. `path` makes it a unix socket. About `limit` bytes
    are taken from the kernel before the script asks for them.
    """
    backend = ScriptedBackend()
    writers: set[asyncio.StreamWriter] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        backend._open.add(task)
        writers.add(writer)
        conversation = Conversation(backend, reader, writer, backend.accepted)
        backend.accepted += 1
        backend.most_open = max(backend.most_open, backend.open)
        try:
            await backend._note()
            await script(conversation)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as exc:
            backend.failures.append(exc)
        finally:
            if not writer.is_closing():  # closed twice, TLS of Python 3.11.2 can not be aborted
                writer.close()
            backend._open.discard(task)
            await backend._note()

    if path is not None:
        server = await asyncio.start_unix_server(converse, path, limit=limit)
        backend.url = f"unix:{path}"
    else:
        server = await asyncio.start_server(converse, host, port, limit=limit, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        backend.url = f"{'https' if tls else 'http'}://{shown}:{port}"
    try:
        yield backend
    finally:
        server.close()
        tasks = list(backend._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:  # what nobody reads any more would hold its connection open
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:  # asyncio aborts no closed one
                writer.transport.abort()
        await asyncio.sleep(0)
    if backend.failures:
        raise backend.failures[0]


@asynccontextmanager
async def answering(*answers: bytes, **where: object) -> AsyncIterator[ScriptedBackend]:
    """Answers the n-th request of a connection with the n-th answer, then with the last one.

    Connections are kept, except after an answer that says `Connection: close`
    or whose end only closing can tell.
    """

    async def script(conversation: Conversation) -> None:
        for n in range(LIMIT):
            await conversation.receive()
            data = answers[min(n, len(answers) - 1)]
            await conversation.send(data)
            text = data.lower()
            framed = any(sign in text for sign in (b"content-length", b"chunked", b"1.1 204"))
            if b"connection: close" in text or not framed:
                return

    async with scripted(script, **where) as backend:  # type: ignore[arg-type]
        yield backend


@asynccontextmanager
async def silent() -> AsyncIterator[ScriptedBackend]:
    """Reads requests and never answers."""

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.gone()

    async with scripted(script) as backend:
        yield backend


@asynccontextmanager
async def truncating(data: bytes) -> AsyncIterator[ScriptedBackend]:
    """Sends `data`, which is less than an answer, and closes."""

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(data)

    async with scripted(script) as backend:
        yield backend


@asynccontextmanager
async def trickling(data: bytes, *, size: int = 1) -> AsyncIterator[ScriptedBackend]:
    """Answers with `data` in segments of `size` bytes; keeps the connection."""

    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            await conversation.send_apart(data[i : i + size] for i in range(0, len(data), size))

    async with scripted(script) as backend:
        yield backend


@asynccontextmanager
async def resetting() -> AsyncIterator[ScriptedBackend]:
    """Reads a request and resets the connection."""

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        conversation.reset()

    async with scripted(script) as backend:
        yield backend


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """The URL of a port that nobody listens on, and nobody else can take meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@asynccontextmanager
async def unreachable() -> AsyncIterator[str]:
    """The URL of a port where connecting neither succeeds nor fails: its queue is full."""
    with socket.socket() as sock, socket.socket() as first:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        first.connect(sock.getsockname())
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
