"""A client's bytes through the whole proxy, to a backend that is h11.

The last byte says how they are split. However that is: the backend sees the same
requests, all of which h11 finds in the client's bytes too, and the client gets the
same answers.
"""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import Any

import h11

from tests.conformance.case import Seen
from tests.conformance.framing import framing_cases
from tests.conformance.requests import request_cases
from tests.fuzz.strict import answers_in, requests_in
from tests.fuzz.world import Client, Finding, World, split

SEEDS = [case.send + bytes([n % 256]) for n, case in enumerate((*request_cases(), *framing_cases()))
         if len(case.send) < 4000]  # fmt: skip
TOKENS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b": ", b",", b";", b"GET ",
    b"POST ",
    b"HEAD / HTTP/1.1\r\n", b"HTTP/1.1", b"HTTP/1.0", b"Host: a\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"Connection: close\r\n",
    b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n",
    b"Connection: upgrade\r\n", b"http://a/", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"Trailer: x\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"Max-Forwards: 0\r\n",
    b"TRACE ", b"OPTIONS * ", b"CONNECT ", b"ffffffffffffffff", b"0x5", b"+5", b"5, 5", b"__ping__",
]  # fmt: skip
REFUSALS = {400, 413, 414, 417, 431, 501, 505}
BLANKS = re.compile(rb"(\r\n[0-9A-Fa-f]+)[ \t]+;")
FRAMING_TRAILER = re.compile(
    rb"(\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*?)(?:content-length|transfer-encoding)(?=:)",
    re.IGNORECASE,
)


class Backend(asyncio.Protocol):
    """h11, which answers `ok` to what it takes for a request."""

    def __init__(self, seen: list[Seen], faults: list[str]) -> None:
        self.seen = seen
        self.faults = faults
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self.request: h11.Request | None = None
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        connection = self.connection
        try:
            connection.receive_data(data)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                self._take(event)
        except h11.RemoteProtocolError as exc:
            self.faults.append(f"the backend was sent {data!r}: {exc}")
            self.transport.abort()

    def _take(self, event: Any) -> None:
        if isinstance(event, h11.Request):
            self.request, self.body = event, b""
        elif isinstance(event, h11.Data):
            self.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert self.request is not None
            request = self.request
            headers = [(bytes(name), bytes(value)) for name, value in request.headers]
            self.seen.append(Seen(bytes(request.method), bytes(request.target), self.body, headers))
            send = self.connection.send
            head = send(h11.Response(status_code=200, headers=[("content-length", "2")]))
            body = b"" if request.method == b"HEAD" else send(h11.Data(data=b"ok"))
            self.transport.write((head or b"") + (body or b""))
            send(h11.EndOfMessage())
            if self.connection.our_state is h11.DONE and self.connection.their_state is h11.DONE:
                self.connection.start_next_cycle()
            else:
                self.transport.close()
        elif isinstance(event, h11.ConnectionClosed):
            self.transport.close()


class _Side:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[str] = []
        # Kept connections are what the way below ASGI needs.
        self.world = World(lambda: Backend(self.seen, self.faults), keep=True)

    def outcome(self, pieces: list[bytes]) -> tuple[Client, list[Seen]]:
        self.seen.clear()
        self.faults.clear()
        client = self.world.run(self.world.talk(pieces))
        if self.faults:
            raise Finding(self.faults[0])
        return client, list(self.seen)


@cache
def side() -> _Side:
    return _Side()


def check(data: bytes) -> None:
    if not data:
        return
    data, cut = data[:-1], data[-1]
    client, seen = side().outcome([data])
    allowed = requests_in(data)
    if not judge_seen(seen, allowed):
        allowed = requests_in(as_h11_likes_it(data))
        if not judge_seen(seen, allowed):
            raise Finding(f"the backend saw {seen}, the oracle allows {allowed}")
    statuses = judge_got(client, allowed)
    if cut:
        other, again = side().outcome(split(data, cut))
        got = judge_got(other, allowed)
        if not same(again, seen, got) or not same(got, statuses, got):
            raise Finding(f"split: {again} {got}, in one piece: {seen} {statuses}")


def as_h11_likes_it(data: bytes) -> bytes:
    """Without what h11 refuses though it is legal, and harmless as it does not pass.

    White space before a chunk's extension (RFC 9112 §7.1.1), and trailers named as a field of
    framing whose value could not be one (RFC 9110 §6.5.1: to be ignored).
    """
    data, count = BLANKS.sub(rb"\1;", data), 1
    while count:
        data, count = FRAMING_TRAILER.subn(rb"\1x", data)
    return data


def same(split: list[Any], whole: list[Any], statuses: list[int]) -> bool:
    """Where our own 400 came before the end of a body, nothing of the rest was served."""
    return split == whole or (400 in statuses and split == whole[: len(split)])


def judge_seen(seen: list[Seen], allowed: list[Seen]) -> bool:
    """Whether what the backend saw are requests of the client's, in order."""
    for request in seen:
        if len(request.values(b"host")) != 1:
            raise Finding(f"hosts at the backend: {request.headers}")
    rest = iter(allowed)
    return all(request in rest for request in seen)  # `in` advances to the one that is equal


def judge_got(client: Client, allowed: list[Seen]) -> list[int]:
    """Statuses of the answers: at most one for each request, and one for what is none."""
    closed = client.ended.result()
    try:
        answers = answers_in(client.got, [request.method for request in allowed], closed=closed)
    except h11.RemoteProtocolError as exc:
        raise Finding(f"the client got {client.got!r}: {exc}") from None
    if len(answers) > len(allowed) + 1:
        raise Finding(f"{len(answers)} answers to {len(allowed)} requests: {client.got!r}")
    # Of two faults it depends on the pieces which is seen first.
    statuses = [400 if answer.status in REFUSALS else answer.status for answer in answers]
    if 500 in statuses or 502 in statuses or 504 in statuses:
        raise Finding(f"the client got {client.got!r}")
    return statuses
