"""A real backend on loopback, in threads of its own: it answers, refuses, stalls or lies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

Faulty = Callable[[socket.socket], bool]
"""What is done with a request; False: the connection is closed then."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the backend has read it."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    """Names in lower case."""
    body: bytes

    def header(self, name: str) -> str | None:
        """The first field of this name, in any case."""
        return next((value for n, value in self.headers if n == name.lower()), None)


class LoopbackBackend:
    """An HTTP/1.1 server on 127.0.0.1. It works under any event loop, and without one."""

    def __init__(self, body: bytes | str = b"ok") -> None:
        """Listens at once, and answers every request with `body`."""
        self.requests: list[Seen] = []
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener = _bound(0)
        self._port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.answer(body)

    # -- what it does from now on

    def answer(
        self, body: bytes | str = b"ok", *, status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:  # fmt: skip
        """Answer every request so. Ends a fault."""
        data = _answer(body, status, headers)

        def send(connection: socket.socket) -> bool:
            connection.sendall(data)
            return True

        self._do(send)

    def refuse(self) -> None:
        """Refuse connections, as a backend that does not run; no other program gets the port."""
        self.close()
        self._listener = _bound(self._port)

    def stall(self) -> None:
        """Read requests and answer nothing."""

        def wait(connection: socket.socket) -> bool:
            with contextlib.suppress(OSError):
                connection.recv(1)  # until either end closes
            return False

        self._do(wait)

    def truncate(self, body: bytes | str = b"ok", *, after: int = 1) -> None:
        """Announce all of `body`, send its first `after` bytes, and close."""
        data = body.encode() if isinstance(body, str) else body
        cut = _answer(data, 200, ())[: -len(data) + after]

        def send(connection: socket.socket) -> bool:
            connection.sendall(cut)
            return False

        self._do(send)

    def close(self) -> None:
        """Stop listening, and close every connection."""
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # `close` alone would not wake its thread
        self._listener.close()

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> None:
        """Until `count` requests have come. Raises TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came")

    # -- its threads

    def _do(self, faulty: Faulty) -> None:
        self._reply = faulty
        if self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0:
            self._listener.listen(128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as stream:
                while (request := _read(stream)) is not None:
                    with self._changed:
                        self.requests.append(request)
                        self._changed.notify_all()
                    if not self._reply(connection):
                        return
        except (OSError, ValueError):
            pass
        finally:
            self._open.discard(connection)
            connection.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _answer(body: bytes | str, status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} ", *(f"{n}: {v}" for n, v in headers)]
    if status >= 200 and status not in (204, 304):
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def _read(stream: BinaryIO) -> Seen | None:
    """The next request; None where the proxy has closed. Raises ValueError."""
    line = stream.readline().decode("latin-1")
    if not line.endswith("\r\n"):
        return None
    method, target, _ = line.split(" ")
    headers: list[tuple[str, str]] = []
    while (line := stream.readline().decode("latin-1")) not in ("\r\n", ""):
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip()))
    fields = dict(headers)
    if fields.get("transfer-encoding") == "chunked":
        return Seen(method, target, headers, _chunks(stream))
    return Seen(method, target, headers, stream.read(int(fields.get("content-length", 0))))


def _chunks(stream: BinaryIO) -> bytes:
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size + 2)[:-2]
    while stream.readline() not in (b"\r\n", b""):
        pass
    return body
