"""A client of HTTP/2 made of bare frames: it may say what no client would.

async with speaking(port) as client:
    client.request(1, GET)
    assert (await client.answer(1)).status == 200
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

MAX_FRAME = 16384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Fields = Iterable[tuple[bytes, bytes]]


def head(method: bytes = b"GET", path: bytes = b"/", host: bytes = b"a.test") -> list:
    """The pseudo-fields of a request."""
    return [(b":method", method), (b":scheme", b"http"), (b":authority", host), (b":path", path)]


GET, POST = head(), head(b"POST")


class Together(list[Frame]):
    """Frames that nothing may come between."""

    def serialize(self) -> bytes:
        return b"".join(frame.serialize() for frame in self)


@dataclass
class Answer:
    """What has come on one stream."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    """The error code of its RST_STREAM."""

    @property
    def status(self) -> int:
        return int(dict(self.fields)[b":status"])

    def get(self, name: bytes) -> bytes | None:
        return dict(self.fields).get(name)


class Http2Client:
    """One connection. It opens windows if `reads`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reads: bool
    ) -> None:
        self.reader, self.writer = reader, writer
        self.reads = reads
        self.answers: dict[int, Answer] = {}
        self.frames: list[Frame] = []
        self.goaways: list[GoAwayFrame] = []
        self.settings: dict[int, int] = {}
        self.closed = False
        self.polite = True
        """Whether it acknowledges SETTINGS and PINGs."""
        self._encoder, self._decoder = Encoder(), Decoder()
        self._block = b""
        self._more = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    # What it says.

    def raw(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, *frames: Frame | Together) -> None:
        self.raw(b"".join(frame.serialize() for frame in frames))

    def begin(self, **settings: int) -> None:
        """The preface, and SETTINGS by their hyperframe names."""
        values = {getattr(SettingsFrame, name): value for name, value in settings.items()}
        self.raw(PREFACE)
        self.send(SettingsFrame(settings=values))

    def headers(self, stream: int, fields: Fields, *flags: str) -> Together:
        """HEADERS, and CONTINUATIONs for what does not fit in."""
        block = self._encoder.encode(list(fields), huffman=False)
        first = HeadersFrame(stream, data=block[:MAX_FRAME], flags=flags)
        more = [
            ContinuationFrame(stream, data=block[at : at + MAX_FRAME])
            for at in range(MAX_FRAME, len(block), MAX_FRAME)
        ]
        [first, *more][-1].flags.add("END_HEADERS")
        return Together([first, *more])

    def request(self, stream: int, fields: Fields, body: bytes | None = None) -> None:
        """A whole request: one DATA frame for a body."""
        if body is None:
            self.send(self.headers(stream, fields, "END_STREAM"))
        else:
            self.send(self.headers(stream, fields), data(stream, body, end=True))

    def reset(self, stream: int, code: int = 8) -> None:
        self.send(RstStreamFrame(stream, error_code=code))

    def window(self, stream: int, size: int) -> None:
        self.send(WindowUpdateFrame(stream, window_increment=size))

    def opened(self, stream: int) -> int:
        """By how much the server has opened a window."""
        windows = [f for f in self.frames if isinstance(f, WindowUpdateFrame)]
        return sum(f.window_increment for f in windows if f.stream_id == stream)

    async def upload(self, stream: int, body: bytes, *, end: bool = True, used: int = 0) -> None:
        """Send as the windows allow; others have used `used` bytes of the connection's."""
        sent = 0

        def room() -> int:
            own = self.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, 65535)
            return min(65535 + self.opened(0) - used, own + self.opened(stream)) - sent

        while sent < len(body):
            await self.until(lambda: room() > 0)
            part = body[sent : sent + min(room(), MAX_FRAME)]
            sent += len(part)
            self.send(data(stream, part, end=end and sent == len(body)))

    # What it hears.

    async def answer(self, stream: int) -> Answer:
        """The answer on `stream`, once it is whole or reset."""
        await self.until(lambda: self.of(stream).ended or self.of(stream).reset is not None)
        return self.of(stream)

    def of(self, stream: int) -> Answer:
        """What has come on `stream` so far."""
        return self.answers.setdefault(stream, Answer())

    async def until(self, condition) -> None:
        """Wait for a frame that makes `condition` true. Raises EOFError at the close."""
        async with self._more:
            while not condition():
                if self.closed:
                    raise EOFError("the server closed")
                await self._more.wait()

    async def gone(self) -> int | None:
        """Wait for the server's close; the code of the last GOAWAY."""
        async with self._more:
            await self._more.wait_for(lambda: self.closed)
        return self.goaways[-1].error_code if self.goaways else None

    async def ponged(self) -> None:
        """Wait until the server has handled all that was sent before."""
        before = sum(isinstance(f, PingFrame) for f in self.frames)
        self.send(PingFrame(0, opaque_data=b"ponged??"))
        await self.until(lambda: sum(isinstance(f, PingFrame) for f in self.frames) > before)

    async def _read(self) -> None:
        try:
            while True:
                frame, length = Frame.parse_frame_header(
                    memoryview(await self.reader.readexactly(9))
                )
                frame.parse_body(memoryview(await self.reader.readexactly(length)))
                self._take(frame)
                async with self._more:
                    self.frames.append(frame)
                    self._more.notify_all()
        except (EOFError, OSError):
            pass
        finally:
            self.closed = True
            async with self._more:
                self._more.notify_all()

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            self._block += frame.data
            if "END_HEADERS" in frame.flags:
                self._take_head(self.of(frame.stream_id))
            if "END_STREAM" in frame.flags:
                self.of(frame.stream_id).ended = True
        elif isinstance(frame, DataFrame):
            answer = self.of(frame.stream_id)
            answer.body += frame.data
            answer.ended = "END_STREAM" in frame.flags
            if self.reads and frame.data:
                self.window(0, len(frame.data))
                if not answer.ended:
                    self.window(frame.stream_id, len(frame.data))
        elif isinstance(frame, RstStreamFrame):
            self.of(frame.stream_id).reset = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            self.goaways.append(frame)
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.settings.update(frame.settings)
            if self.polite:
                self.send(SettingsFrame(flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags and self.polite:
            self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))

    def _take_head(self, answer: Answer) -> None:
        fields = [(bytes(n), bytes(v)) for n, v in self._decoder.decode(self._block, raw=True)]
        self._block = b""
        status = dict(fields).get(b":status", b"")
        if status.startswith(b"1"):
            answer.interim.append(int(status))
        elif status:
            answer.fields = fields
        else:
            answer.trailers = fields

    def abort(self) -> None:
        self._task.cancel()
        self.writer.transport.abort()


def data(stream: int, payload: bytes = b"", *, end: bool = False) -> DataFrame:
    return DataFrame(stream, data=payload, flags=["END_STREAM"] if end else [])


@asynccontextmanager
async def speaking(
    port: int,
    *,
    reads: bool = True,
    begin: bool = True,
    tls: ssl.SSLContext | None = None,
    **settings: int,
) -> AsyncIterator[Http2Client]:
    """A client that has sent its preface; it is gone with the block."""
    name = "a.test" if tls else None
    streams = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    client = Http2Client(*streams, reads=reads)
    if begin:
        client.begin(**settings)
    try:
        yield client
    finally:
        client.abort()
