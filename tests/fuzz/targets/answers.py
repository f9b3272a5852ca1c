"""A backend's bytes through the whole proxy, to a client whose parser is h11.

The first byte says how they are split, how they end and what was asked, the second whether
on a connection that has served before, which is the way below ASGI, or as a WebSocket's
handshake, and when the client leaves without waiting for its answer. What looks whole
at the client is whole in the backend's bytes, by h11's reading, and the same; what does not
is a 502 or 504 of ours or visibly cut; and there is one answer to one request.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from typing import Any

import h11

from app.errors import UpstreamBadAnswer
from app.upstream.mending import head_end, mended
from tests.fuzz.strict import Answer, answers_in
from tests.fuzz.world import Client, Finding, World, split

FIRST = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = [
    OK + b"Content-Length: 5\r\n\r\nhello",
    OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n",
    OK + b"\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy",
    b"HTTP/1.1 301 Moved\r\nLocation: /a\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
    b"Content-Length: 0\r\n\r\n",
    OK + b"Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond",
    OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    OK + b"Content-Length: 10\r\n\r\nhello",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    OK + b"X: a\r\n b\r\n\r\n",
    OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 600 Beyond\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"\r\n" + OK + b"\r\n",
    b"",
]  # fmt: skip
KEPT, HANDSHAKE = 1, 2
SEEDS = [bytes([n * 11 % 256, n & ~HANDSHAKE]) + answer for n, answer in enumerate(ANSWERS)]
SEEDS += [bytes([0, how]) + answer for answer in ANSWERS for how in (KEPT, HANDSHAKE)]
SEEDS += [bytes([n * 37 % 256, n * 16 + 1]) + ANSWERS[n % 3] for n in range(1, 16)]
TOKENS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b";", OK, b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"200", b"204", b"304", b"100", b"101", b"503", b"Content-Length: ", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"Retry-After: 1\r\n", b"Trailer: x\r\n", b"Upgrade: h2c\r\n",
    b"Set-Cookie: a=b\r\n", b"ffffffffffffffff", b"+5", b"-1", b"Connection: upgrade\r\n",
]  # fmt: skip
OURS = {502, 503, 504}
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Backend(asyncio.Protocol):
    """Sends the same to whatever comes."""

    def __init__(self, side: _Side) -> None:
        self.side = side
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.data.endswith(b"\r\n\r\n"):
            return
        target = self.data.split(b" ")[1]
        self.data = b""
        if target == b"/first":
            self.transport.write(FIRST)
        else:
            self.side.send(self.transport)


class _Side:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.end = 0
        self.world = World(lambda: Backend(self))

    def send(self, transport: Any) -> None:
        """A piece per turn of the loop, then the end: close, reset, half-close, or silence."""
        for turn, piece in enumerate([*self.pieces, b""], 1):
            self.world.loop.call_later(turn * 0.001, self._piece, transport, piece)

    def _piece(self, transport: Any, piece: bytes) -> None:
        if piece:
            transport.write(piece)
        elif self.end == 0:
            transport.close()
        elif self.end == 1:
            transport.socket.resets = True
            transport.abort()
        elif self.end == 2:
            transport.write_eof()


@cache
def side() -> _Side:
    return _Side()


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    first, kept, leaves = data[0], data[1] & KEPT, data[1] >> 4
    fields, data = UPGRADE if data[1] & HANDSHAKE else b"", data[2:]
    method, end, cut = (b"GET", b"HEAD")[first & 1 and not fields], first >> 1 & 3, first >> 3
    here = side()
    here.pieces, here.end = split(data, cut), end
    version = 0 if first & 0xC0 == 0xC0 and not fields else 1
    asked = [b"%b / HTTP/1.%d\r\nHost: a\r\n%b\r\n" % (method, version, fields)]
    if kept:
        asked.insert(0, b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
    if leaves:
        here.world.run(here.world.leave(asked, after=leaves * 0.0007))
        return
    client: Client = here.world.run(here.world.talk(asked))
    if kept:
        if not client.got.startswith(FIRST[:17]):
            raise Finding(f"the client got {client.got!r}")
        client.got = client.got.partition(b"first")[2]
    judge(client, data, method, sent_closed=end in (0, 2))


def judge(client: Client, data: bytes, method: bytes, *, sent_closed: bool) -> None:
    """Compare what the client got with what the backend sent."""
    try:
        answers = answers_in(client.got, [method], closed=client.ended.result())
    except h11.RemoteProtocolError as exc:
        raise Finding(f"the client got {client.got!r}: {exc}") from None
    if len(answers) > 1:
        raise Finding(f"one request, {len(answers)} answers: {client.got!r}")
    if not answers or not answers[0].complete:
        return
    got, sent = answers[0], first_in(data, method, closed=sent_closed)
    same = isinstance(sent, Answer) and (sent.complete, sent.status, sent.body) == (
        True, got.status, got.body
    )  # fmt: skip
    if not same and got.status not in OURS:
        raise Finding(f"the client got {client.got!r}, h11 reads {sent}")


def first_in(data: bytes, method: bytes, *, closed: bool) -> Answer | str:
    """What h11 makes of the backend's bytes; what follows the first answer is another matter.

    h11 reads no head that breaks the grammar: it gets these as the proxy mends them.
    """
    try:
        answers = answers_in(data, [method], closed=closed, most=1)
    except h11.RemoteProtocolError as exc:
        again = with_mended_heads(data)
        return str(exc) if again == data else first_in(again, method, closed=closed)
    return answers[0] if answers else "nothing"


def with_mended_heads(data: bytes) -> bytes:
    """The heads up to the first final one in the grammar, where they can be read in one way."""
    heads = b""
    with suppress(UpstreamBadAnswer):
        while end := head_end(data):
            head, data = mended(data[:end]), data[end:]
            heads += head
            if head[9:10] != b"1":
                break
    return heads + data
