"""A client of HTTP/2 that asks in rounds, so that what it costs the proxy can be counted."""

from __future__ import annotations

import socket

from ngh2 import Configuration, Connection, DataReceived, Role, Setting, StreamClosed

from bench.compare.sites import HOSTS

WINDOW = 2**30
"""Bytes that an answer may have: h2load's own."""
READ = 1 << 20


class Http2Client:
    """One connection, without TLS. It asks for one thing only."""

    def __init__(self, port: int, path: str, body: int = 0) -> None:
        """`body`: bytes of a POST; 0 means a GET."""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._engine = Connection(Role.CLIENT, Configuration())
        self._engine.initiate_connection({Setting.INITIAL_WINDOW_SIZE: WINDOW})
        self._engine.set_local_window_size(WINDOW)
        self._body = bytes(body)
        self._fields = [
            (b":method", b"POST" if body else b"GET"),
            (b":scheme", b"http"),
            (b":authority", HOSTS[0].encode()),
            (b":path", path.encode()),
        ]
        if body:
            self._fields.append((b"content-length", b"%d" % body))
        self._open = 0
        self._came = 0

    def ask(self, streams: int) -> None:
        """Open so many streams at once, in one write."""
        for _ in range(streams):
            stream = self._engine.send_request(self._fields, end_stream=not self._body)
            if self._body:
                self._engine.send_data(stream, self._body, end_stream=True)
        self._open += streams
        self._flush()

    def take(self) -> int:
        """Wait for all answers; bytes of their bodies."""
        while self._open:
            data = self._socket.recv(READ)
            if not data:
                raise SystemExit("the proxy closed a connection of HTTP/2")
            self._engine.receive_data(data)
            for event in self._engine.events():
                if isinstance(event, StreamClosed):
                    self._open -= 1
                    if event.error_code:
                        raise SystemExit(f"a stream ended with {event.error_code}")
                elif isinstance(event, DataReceived):
                    self._came += len(event.data)
            self._flush()
        came, self._came = self._came, 0
        return came

    def _flush(self) -> None:
        if data := self._engine.data_to_send():
            self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


def ask(
    port: int, requests: int, connections: int, streams: int, *, path: str, size: int, body: int
) -> int:
    """At least `requests` requests, `streams` at a time on each connection; how many.

    Each has `body` bytes, and its answer `size`.
    """
    clients = [Http2Client(port, path, body) for _ in range(connections)]
    rounds = -(-requests // (connections * streams))
    for _ in range(rounds):
        for client in clients:
            client.ask(streams)
        for client in clients:
            came = client.take()
            assert came == streams * size, f"{came} bytes came for {streams} requests"
    for client in clients:
        client.close()
    return rounds * connections * streams
