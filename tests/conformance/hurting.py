"""What one visitor does must not take a site from the others: two backends, a visitor, the others.

Each case has a host and two backends of its own, as marks and counts stay behind.
"""

from __future__ import annotations

import socket
import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

VISITORS = 8
PATIENCE = 8.0
"""Seconds that one of the others waits at most."""
LARGE = 3 << 20
CONNECTIONS = 20
"""What Hipache is allowed to one backend here; the other two have no such limit of their own."""


class Backend(socketserver.ThreadingTCPServer):
    """Does what the path of a request says."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.ended = Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Conversation(socketserver.BaseRequestHandler):
    server: Backend
    request: socket.socket

    def handle(self) -> None:
        with suppress(OSError):
            while self._answer():
                pass

    def _answer(self) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(65536)
            if not data:
                return False
            head += data
        method, target, _ = head.split(b" ", 2)
        send = self.request.sendall
        if method == b"FROB":
            send(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n")
        elif method == b"HEAD":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        elif target == b"/slow" or method == b"POST":
            self.server.ended.wait()
            return False
        elif target == b"/events":
            send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            self.server.ended.wait()
            return False
        elif target == b"/large":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            send(b"x" * LARGE)
        else:
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True


@contextmanager
def backends(count: int) -> Iterator[list[Backend]]:
    """So many backends on free ports of loopback."""
    with ExitStack() as stack:
        all_of_them = [stack.enter_context(Backend()) for _ in range(count)]
        threads = [
            Thread(target=each.serve_forever, kwargs={"poll_interval": 0.05})
            for each in all_of_them
        ]
        for thread in threads:
            thread.start()
        try:
            yield all_of_them
        finally:
            for each, thread in zip(all_of_them, threads, strict=True):
                each.ended.set()
                each.shutdown()
                thread.join()


@dataclass
class Visitor:
    """One visitor who asks for what it likes, and keeps its connections until the end."""

    address: tuple[str, int]
    host: str
    held: list[socket.socket]

    def begin(
        self, method: str, target: str, fields: str = "", *, window: int = 0
    ) -> socket.socket:
        """Send a request; `window`: bytes that its kernel takes."""
        sock = socket.socket()
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.bind(("127.0.4.4", 0))
        sock.settimeout(PATIENCE)
        sock.connect(self.address)
        self.held.append(sock)
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n".encode())
        return sock

    def ask(self, method: str, target: str) -> None:
        """Send a request and take what comes of its answer."""
        with suppress(OSError):
            self.begin(method, target).recv(65536)


def unknown_methods(visitor: Visitor) -> None:
    """Both backends answer 501."""
    for _ in range(30):
        visitor.ask("FROB", "/")


def slow_pages(visitor: Visitor) -> None:
    """They take longer than the proxy waits for an answer."""
    pages = [visitor.begin("GET", "/slow") for _ in range(8)]
    for page in pages:
        with suppress(OSError):
            page.recv(65536)


def quiet_events(visitor: Visitor) -> None:
    """Event streams that have nothing to say for longer than the proxy lets a backend be silent."""
    streams = [visitor.begin("GET", "/events") for _ in range(8)]
    for stream in streams:
        with suppress(OSError):
            while stream.recv(65536):
                pass


def head_with_body(visitor: Visitor) -> None:
    """The backends answer HEAD with a body."""
    for _ in range(12):
        visitor.ask("HEAD", "/")


def slow_readers(visitor: Visitor) -> None:
    """Large answers of which nothing is taken, on more connections than the backends are given."""
    for _ in range(3 * CONNECTIONS):
        visitor.begin("GET", "/large", window=4096)
    time.sleep(0.5)


def stalled_uploads(visitor: Visitor) -> None:
    """Uploads that stall after some bytes, on more connections than the backends are given."""
    for _ in range(3 * CONNECTIONS):
        sock = visitor.begin("POST", "/up", "Content-Length: 9999999\r\n")
        with suppress(OSError):
            sock.sendall(b"x" * 70_000)
    time.sleep(0.5)


HURTS: tuple[Callable[[Visitor], None], ...] = (
    unknown_methods, slow_pages, quiet_events, head_with_body, slow_readers, stalled_uploads,
)  # fmt: skip


def host_of(hurt: Callable[[Visitor], None]) -> str:
    return hurt.__name__.replace("_", "-") + ".test"


def run_hurt(hurt: Callable[[Visitor], None], address: tuple[str, int]) -> str:
    """Empty if all others are served, else what they got."""
    visitor = Visitor(address, host_of(hurt), [])
    try:
        others = [_visit(address, visitor.host) for _ in range(2)]
        hurt(visitor)
        others += [_visit(address, visitor.host) for _ in range(VISITORS)]
    finally:
        for sock in visitor.held:
            sock.close()
    wrong = [other for other in others if other != "200"]
    return f"{len(wrong)} of {len(others)} others got {wrong[0]}" if wrong else ""


def _visit(address: tuple[str, int], host: str) -> str:
    """The status that another visitor gets."""
    try:
        with socket.create_connection(address, PATIENCE, ("127.0.5.5", 0)) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(65536)[9:12].decode() or "nothing"
    except TimeoutError:
        return f"nothing within {PATIENCE:.0f} s"
    except OSError as exc:
        return str(exc)
