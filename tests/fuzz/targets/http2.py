"""A client's frames of HTTP/2 through the whole proxy, to a backend that is h11.

The bytes are records: kind, flags, stream, length, payload; so they are frames whatever a
mutation does, except for a kind above 15, which is sent as it is. The last byte says how all
is split. The backend sees no request but those that hyperframe and hpack find in the frames,
each with its own body. The client gets legal frames: one answer for each stream, which ends
once, and nothing behind its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from hpack import Decoder
from hpack.exceptions import HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
)

from tests.conformance.case import Seen
from tests.conformance.http2.frames import PREFACE, frame
from tests.conformance.http2.table import CASES
from tests.fuzz.targets.requests import Backend
from tests.fuzz.world import Finding, World, split

LONGEST = 255
RAW = 16
LARGEST_FRAME = 16384
Request = tuple[bytes, bytes, bytes]
"""Method, path and body."""


def records(data: bytes) -> bytes:
    """The frames that some records stand for."""
    sent = []
    while len(data) >= 4:
        kind, flags, stream, length = data[:4]
        payload, data = data[4 : 4 + length], data[4 + length :]
        sent.append(payload if kind >= RAW else frame(kind, stream, payload, flags))
    return b"".join(sent)


def recorded(data: bytes) -> bytes:
    """The records that stand for some frames; empty if they do not fit."""
    found = []
    while len(data) >= 9:
        length, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        stream = int.from_bytes(data[5:9], "big")
        if length > LONGEST or stream > LONGEST or kind >= RAW:
            return b""
        found.append(bytes((kind, flags, stream, length)) + data[9 : 9 + length])
        data = data[9 + length :]
    return b"".join(found)


def _seeds() -> Iterator[bytes]:
    for number, case in enumerate(CASES):
        parts = [step for step in case.send if isinstance(step, bytes)]
        if case.alpn or sum(map(len, parts)) > 4000 or len(parts) < len(case.send):
            continue
        if found := recorded(b"".join(parts)):
            yield found + bytes([number % 256])


SEEDS = list(_seeds())
TOKENS = [
    b"\x82\x86\x84\x41\x06a.test", b"\x83\x86\x84\x41\x06a.test", b"\xbe", b"\xbf", b"\x80",
    b"\x20", b"\x3f\xe1\x1f", b"\0\x04host\x06a.test", b"\0\x0econtent-length\x015",
    b"\0\x06cookie\x03a=b", b"\0\x02te\x08trailers", b"\0\x06:path\x01/", b"\0\x01X\x01y",
    b"\0\x01x\x02\r\n", b"\x40\x01x\x01y", b"\0\x06expect\x0c100-continue",
    b"\1\5\1\x0b\x82\x86\x84\x41\x06a.test", b"\1\4\3\x0b\x83\x86\x84\x41\x06a.test",
    b"\1\5\5\x0b\x82\x86\x84\x41\x06a.test", b"\0\1\3\5hello", b"\0\0\3\5hello", b"\0\1\3\0",
    b"\0\x09\3\5\2hi\0\0", b"\1\5\3\5\0\1x\1y", b"\1\1\1\0",
    b"\x09\4\1\x0b\x82\x86\x84\x41\x06a.test",
    b"\3\0\1\4\0\0\0\x08", b"\3\0\3\4\0\0\0\0", b"\4\0\0\0", b"\4\0\0\6\0\4\0\0\0\0",
    b"\4\0\0\6\0\4\x7f\xff\xff\xff", b"\4\0\0\6\0\1\0\0\0\0", b"\4\1\0\0", b"\6\0\0\x0812345678",
    b"\x08\0\0\4\0\0\0\1", b"\x08\0\1\4\0\0\0\1", b"\x08\0\1\4\x7f\xff\xff\xff",
    b"\7\0\0\x08\0\0\0\0\0\0\0\0", b"\2\0\1\5\0\0\0\1\0", b"\x10\0\0\x09\0\0\1\0\0\0\0\0\1",
    b"\x82\x86\x84\x41\x06a.test\x07:method\x07CONNECT", b"\0\x09:protocol\x09websocket",
]  # fmt: skip


class _Side:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[str] = []
        self.world = World(lambda: Backend(self.seen, self.faults), keep=True)
        self.world.edge.prior_knowledge = True

    def outcome(self, pieces: list[bytes]) -> tuple[bytes, list[Seen]]:
        self.seen.clear()
        self.faults.clear()
        client = self.world.run(self.world.talk(pieces))
        if self.faults:
            raise Finding(self.faults[0])
        return client.got, list(self.seen)


@cache
def side() -> _Side:
    return _Side()


def check(data: bytes) -> None:
    if not data:
        return
    data, cut = records(data[:-1]), data[-1]
    got, seen = side().outcome([PREFACE, *split(data, cut)])
    allowed = requests_in(data)
    for request in seen:
        if len(request.values(b"host")) != 1:
            raise Finding(f"hosts at the backend: {request.headers}")
        found = request.method, request.target, request.body
        if found not in allowed:
            raise Finding(f"the backend saw {found}, the client sent {allowed}")
        allowed.remove(found)
    handshake = any(request.values(b"upgrade") for request in seen)
    judge_got(got, {b"500", b"504"} if handshake else {b"500", b"502", b"504"})


def frames_in(data: bytes) -> Iterator[Frame]:
    """But for those that cannot be read: the engine passes some of them over."""
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        try:
            found, _ = Frame.parse_frame_header(memoryview(data[:9]))
            found.parse_body(memoryview(data[9 : 9 + length]))
            yield found
        except HyperframeError:
            pass
        data = data[9 + length :]


def requests_in(data: bytes) -> list[Request]:
    """What may arrive: each stream's head, and its body up to its end. States do not matter.

    A body that is as long as its Content-Length may arrive too: what comes behind it is an
    error, but later.
    """
    decoder, block = Decoder(), b""
    decoder.max_header_list_size = 1 << 24
    heads: dict[int, dict[bytes, bytes]] = {}
    bodies: dict[int, bytes] = {}
    ended: set[int] = set()
    for found in frames_in(data):
        stream = found.stream_id
        if isinstance(found, DataFrame) and stream in heads and stream not in ended:
            bodies[stream] += found.data
        if isinstance(found, HeadersFrame | ContinuationFrame):
            block += found.data
            if "END_HEADERS" in found.flags:
                try:
                    fields = dict(decoder.decode(block, raw=True))
                except HPACKError:
                    break
                block = b""
                heads.setdefault(stream, fields)
                bodies.setdefault(stream, b"")
        if "END_STREAM" in found.flags:
            ended.add(stream)
    found_requests = []
    for stream, fields in heads.items():
        if b":protocol" in fields:  # a WebSocket's handshake, which is a GET in HTTP/1.1
            found_requests.append((b"GET", fields.get(b":path", b""), b""))
            continue
        body, length = bodies[stream], fields.get(b"content-length", b"")
        if length.isdigit() and len(body) >= int(length):
            ended.add(stream)
            body = body[: int(length)]
        if stream in ended:
            found_requests.append((fields.get(b":method", b""), fields.get(b":path", b""), body))
    return found_requests


def judge_got(got: bytes, faults: set[bytes]) -> None:
    """The frames that the client got; `faults` are statuses that none may have.

    The backend answers a WebSocket's handshake with 200, which is a 502 over HTTP/2.
    """
    decoder, block = Decoder(), b""
    answered: set[int] = set()
    over: set[int] = set()
    for found in frames_in(got):
        stream = found.stream_id
        if found.body_len > LARGEST_FRAME:
            raise Finding(f"the client got a frame of {found.body_len} octets")
        if isinstance(found, HeadersFrame | ContinuationFrame | DataFrame):
            if stream in over:
                raise Finding(f"the client got {found} behind the end of its stream")
            if isinstance(found, DataFrame) and stream not in answered:
                raise Finding(f"the client got {found} without a head")
        if isinstance(found, HeadersFrame | ContinuationFrame):
            block += found.data
            if "END_HEADERS" in found.flags:
                judge_head(stream, decoder.decode(block, raw=True), answered, faults)
                block = b""
        if "END_STREAM" in found.flags or isinstance(found, RstStreamFrame):
            over.add(stream)


def judge_head(
    stream: int, fields: list[tuple[bytes, bytes]], answered: set[int], faults: set[bytes]
) -> None:
    name, status = fields[0]
    if name != b":status":
        if stream not in answered:
            raise Finding(f"the client got {fields} for an answer")
    elif not status.startswith(b"1"):
        if stream in answered:
            raise Finding(f"the client got a second answer on {stream}")
        if status in faults:
            raise Finding(f"the client got {fields}")
        answered.add(stream)
