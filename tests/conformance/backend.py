"""What stands behind a proxy under test: a strict parser that is not ours, and remembers."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, Thread

import h11

from tests.conformance.case import Seen


class Observer(socketserver.ThreadingTCPServer):
    """Serves `ok` to whatever h11 takes for a request. Requests cut short do not count.

    `answers` are raw, by target; the connection closes behind them.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answers: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.answers = answers or {}
        self._seen: list[Seen] = []
        self._lock = Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def remember(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    def take(self) -> list[Seen]:
        """The requests since the last call."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen


class _Connection(socketserver.BaseRequestHandler):
    server: Observer
    request: socket.socket

    def handle(self) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while self._serve_one(connection):
                connection.start_next_cycle()
        except (OSError, h11.ProtocolError):
            pass  # the proxy cut it, or sent what is no request: either way nothing arrived

    def _serve_one(self, connection: h11.Connection) -> bool:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(self.request.recv(65536))
            elif isinstance(event, h11.Request):
                request = event
                if connection.they_are_waiting_for_100_continue:
                    self._send(connection, h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
                break
            else:
                return False
        assert request is not None
        headers = [(bytes(name), bytes(value)) for name, value in request.headers]

        method, target = bytes(request.method), bytes(request.target)
        self.server.remember(Seen(method, target, body, headers, trailers))
        self._answer(connection, request)
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def _answer(self, connection: h11.Connection, request: h11.Request) -> None:
        raw = self.server.answers.get(bytes(request.target))
        if raw is not None:
            self.request.sendall(raw)
            return
        head = h11.Response(status_code=200, headers=[("content-length", "2")])
        self._send(connection, head)
        if request.method != b"HEAD":
            self._send(connection, h11.Data(data=b"ok"))
        self._send(connection, h11.EndOfMessage())

    def _send(self, connection: h11.Connection, event: h11.Event) -> None:
        data = connection.send(event)
        if data:
            self.request.sendall(data)


@contextmanager
def observing(answers: Mapping[bytes, bytes] | None = None) -> Iterator[Observer]:
    """An observer on a free port of loopback."""
    with Observer(answers) as observer:
        thread = Thread(target=observer.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield observer
        finally:
            observer.shutdown()
            thread.join()
