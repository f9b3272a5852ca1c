"""A client's frames behind the preface of HTTP/2, through the whole proxy to a backend: h11.

The last byte says how they are split. However that is: the backend gets requests that h11
takes, each with one host, and the client gets frames that HTTP/2 allows.
"""

from __future__ import annotations

from functools import cache

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame

from tests.conformance.case import Seen
from tests.fuzz.targets.requests import Backend
from tests.fuzz.world import Finding, World, split
from tests.server.http2.frames import GET, POST, PREFACE, data, head

OPENING = SettingsFrame().serialize()
ACK = SettingsFrame(flags=["ACK"]).serialize()
STATUSES = {200, 400, 405, 408, 413, 414, 417, 431, 501}


def _headers(stream: int, fields: list[tuple[bytes, bytes]], *flags: str) -> bytes:
    block = Encoder().encode(fields, huffman=False)
    return HeadersFrame(stream, data=block, flags=["END_HEADERS", *flags]).serialize()


TOKENS = [
    ACK, SettingsFrame(settings={4: 0}).serialize(), SettingsFrame(settings={5: 16385}).serialize(),
    SettingsFrame(settings={1: 0}).serialize(), RstStreamFrame(1, error_code=8).serialize(),
    _headers(1, GET, "END_STREAM"), _headers(3, GET, "END_STREAM"), _headers(1, POST),
    _headers(1, [(b"x-sum", b"1")], "END_STREAM"), data(1, b"hello").serialize(),
    data(1, end=True).serialize(), b"\0\0\4\x08\0\0\0\0\1\0\0\0\1",
    b"\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff",
    b"\0\0\x08\6\0\0\0\0\x0012345678", b"\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\5\2\0\0\0\0\1\0\0\0\3\xff", b"\0\0\7\x10\0\0\0\0\0\0\0\0\1u=1",
    b"\0\0\1\x09\4\0\0\0\1\x82",
    b"\x40\4host\1b", b"\x40\6cookie\3a=1", b"\x40\x0econtent-length\1\x35",
    b"\x40\2te\x08trailers",
    b"\x82", b"\x84", b"\x86", b"\xbe", b"\x3f\xe1\x1f", b"\0", b"\r\n", b":path",
    b"transfer-encoding",
]  # fmt: skip
SEEDS = [
    OPENING + ACK + b"".join(frames) + b"\0"
    for frames in (
        [_headers(1, GET, "END_STREAM")],
        [_headers(1, GET, "END_STREAM"), _headers(3, head(b"HEAD"), "END_STREAM")],
        [_headers(1, POST), data(1, b"hello").serialize(), data(1, end=True).serialize()],
        [_headers(1, [*POST, (b"content-length", b"5")]), data(1, b"hello", end=True).serialize()],
        [_headers(1, POST), data(1, b"hello").serialize(), TOKENS[8]],
        [_headers(1, POST), TOKENS[4], _headers(3, GET, "END_STREAM")],
        [_headers(1, [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")], "END_STREAM")],
        [TOKENS[1], _headers(1, GET, "END_STREAM"), TOKENS[11], TOKENS[12]],
        [TOKENS[13], TOKENS[16], TOKENS[15], _headers(1, GET, "END_STREAM"), TOKENS[14]],
    )
]


class _Side:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[str] = []
        self.world = World(lambda: Backend(self.seen, self.faults), keep=True)
        self.world.edge.prior_knowledge = True

    def outcome(self, pieces: list[bytes]) -> bytes:
        """What the client got."""
        self.seen.clear()
        self.faults.clear()
        got: bytes = self.world.run(self.world.talk(pieces)).got
        if self.faults:
            raise Finding(self.faults[0])
        return got


@cache
def side() -> _Side:
    return _Side()


def check(case: bytes) -> None:
    if not case:
        return
    frames, cut = PREFACE + case[:-1], case[-1]
    for pieces in ([frames], split(frames, cut)) if cut else ([frames],):
        got = side().outcome(pieces)
        judge_seen(side().seen)
        judge_got(got)


def judge_seen(seen: list[Seen]) -> None:
    """Each is one request, of one host, for a target that HTTP/1.1 knows."""
    for request in seen:
        if len(request.values(b"host")) != 1 or not request.target.startswith((b"/", b"*")):
            raise Finding(f"the backend saw {request}")


def judge_got(got: bytes) -> None:
    """Frames; on each stream at most one answer, and nothing behind its end."""
    decoder, answered, ended = Decoder(), set(), set()
    while got:
        try:
            frame, length = Frame.parse_frame_header(memoryview(got[:9]))
            frame.parse_body(memoryview(got[9 : 9 + length]))
            got = got[9 + length :]
            if isinstance(frame, HeadersFrame):
                fields = dict(decoder.decode(frame.data, raw=True))
                judge_head(frame, int(fields.get(b":status", b"0")), answered)
        except (HyperframeError, HPACKError, ValueError) as error:
            raise Finding(f"the client got {got[:100]!r}: {error!r}") from None
        if isinstance(frame, HeadersFrame | DataFrame):
            if frame.stream_id in ended:
                raise Finding(f"behind the end: {frame}")
            if "END_STREAM" in frame.flags:
                ended.add(frame.stream_id)


def judge_head(frame: HeadersFrame, status: int, answered: set[int]) -> None:
    """A 1xx, or the one final answer."""
    if 100 <= status < 200:
        return
    if status not in STATUSES or frame.stream_id in answered:
        raise Finding(f"status {status} on stream {frame.stream_id}")
    answered.add(frame.stream_id)
