"""A backend that answers as the cases say, and what a strict client makes of what comes back."""

from __future__ import annotations

import socket
import socketserver
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread

import h11

from tests.conformance.answers import AnswerCase
from tests.conformance.case import TIMEOUT

HOST = "answers.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Next: 1\r\n\r\nok"


class Answering(socketserver.ThreadingTCPServer):
    """Answers `/N` as the case with that number says, and all else with `ok`."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, cases: Sequence[AnswerCase]) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.cases = cases
        self.said_all = Event()
        """The last answer of a case was sent to its last byte."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Conversation(socketserver.BaseRequestHandler):
    server: Answering
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            while head := self._head():
                number = head.split(b" ", 2)[1].strip(b"/")
                if not number:
                    self.request.sendall(OK)
                    continue
                for piece in self.server.cases[int(number)].pieces:
                    self.request.sendall(piece)
                    time.sleep(0.02)  # so that the next piece is a segment of its own
                self.server.said_all.set()
                return

    def _head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(65536)
            if not data:
                return b""
            head += data
        return head


@contextmanager
def answering(cases: Sequence[AnswerCase]) -> Iterator[Answering]:
    """A backend on a free port of loopback."""
    with Answering(cases) as backend:
        thread = Thread(target=backend.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield backend
        finally:
            backend.shutdown()
            thread.join()


class Came:
    """What came back, as h11 reads it."""

    def __init__(self, data: bytes, method: bytes) -> None:
        self.status, self.body, self.whole = 0, b"", False
        self.headers: list[tuple[bytes, bytes]] = []
        self.interims: list[int] = []
        self.data = data
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        client.send(h11.Request(method=method, target="/", headers=[("host", HOST)]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        client.receive_data(b"")
        with suppress(h11.RemoteProtocolError):
            self._read(client)

    def _read(self, client: h11.Connection) -> None:
        while (event := client.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.InformationalResponse):
                self.interims.append(event.status_code)
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            elif isinstance(event, h11.Data):
                self.body += event.data
            else:
                self.whole = isinstance(event, h11.EndOfMessage)
                return

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


def ask(address: tuple[str, int], case: AnswerCase | None, number: object = "") -> Came:
    """One request on a connection of its own. Raises TimeoutError."""
    method, upload = (b"GET", 0) if case is None else (case.method, case.upload)
    head = f"/{number} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
    if method == b"POST":
        head += f"Content-Length: {upload}\r\n"
    got = b""
    with socket.create_connection(address, TIMEOUT) as client:
        client.sendall(method + b" " + head.encode() + b"\r\n")
        sender = Thread(target=_send, args=(client, upload))
        sender.start()
        try:
            while part := client.recv(65536):
                got += part
        except ConnectionResetError:
            pass
        finally:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            sender.join()
    return Came(got, method)


def _send(client: socket.socket, size: int) -> None:
    with suppress(OSError):
        while size > 0:
            size -= client.send(b"x" * min(size, 65536))


def run_answer(case: AnswerCase, backend: Answering, address: tuple[str, int]) -> str:
    """Empty if the case holds, else what did not."""
    backend.said_all.clear()
    try:
        verdict = _judge(case, ask(address, case, backend.cases.index(case)))
        backend.said_all.wait(TIMEOUT)
        after = ask(address, None)
    except TimeoutError:
        return f"no close within {TIMEOUT:.0f} s"
    if not verdict and (after.body, after.values(b"x-next")) != (b"ok", [b"1"]):
        return f"the next request got {after.data[:200]!r}"
    return verdict


def _judge(case: AnswerCase, came: Came) -> str:
    if case.cut:
        return "the cut answer looks whole" if came.whole and came.status == 200 else ""
    if came.status not in case.statuses:
        return f"answered {came.status}, not {' or '.join(map(str, case.statuses))}"
    if case.body is None:
        return ""
    if not came.whole or came.body != case.body:
        return f"{len(came.body)} bytes of {len(case.body)}: {came.body[:60]!r}"
    if tuple(i for i in came.interims if i != 100) != case.interims:
        return f"1xx answers: {came.interims}"
    for name, values in case.fields:
        if came.values(name) != values:
            return f"{name.decode()} came as {came.values(name)}"
    return ""
