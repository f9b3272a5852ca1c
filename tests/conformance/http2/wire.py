"""The client's end of an HTTP/2 connection, and what has come on it. It blocks.

It acknowledges SETTINGS and PING, and opens no window: a case does that.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from hpack import Decoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.conformance.http2.frames import ACK, SETTINGS, frame, ping

_PROBE = b"ponged??"
_CLOSED = (ConnectionError, ssl.SSLError)


@dataclass
class Answer:
    """What has come on one stream."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.fields).get(b":status", b"0"))

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


class Wire:
    def __init__(self, sock: socket.socket) -> None:
        self.answers: dict[int, Answer] = {}
        self.settings: dict[int, int] = {}
        self.acknowledged = 0
        self.pongs: list[bytes] = []
        self.goaway: int | None = None
        """The code of the last GOAWAY."""
        self.sizes: list[int] = []
        """Octets of each DATA frame."""
        self.other = b""
        """What came where frames should have come."""
        self._sock = sock
        self._unread = b""
        self._decoder = Decoder()
        self._decoder.max_header_list_size = 1 << 20
        self._block = b""

    def send(self, data: bytes) -> None:
        """The server may have closed already: `until` will tell."""
        with suppress(*_CLOSED):
            self._sock.sendall(data)

    def of(self, stream: int) -> Answer:
        return self.answers.setdefault(stream, Answer())

    def until(self, condition: Callable[[], bool]) -> None:
        """Read frames until it is true. Raises EOFError at an end or at a GOAWAY that is an
        error, TimeoutError."""
        while not condition():
            if self.goaway:
                raise EOFError
            self._read_frame()

    def ponged(self) -> None:
        """Until the server has handled all that was sent before."""
        before = self.pongs.count(_PROBE)
        self.send(ping(_PROBE))
        self.until(lambda: self.pongs.count(_PROBE) > before)

    def ended(self, stream: int) -> None:
        """Until its answer is whole or reset."""
        answer = self.of(stream)
        self.until(lambda: answer.ended or answer.reset is not None)

    def _read_frame(self) -> None:
        start = self._read(9)
        if start.startswith(b"HTTP/1."):
            self.other = start + self._unread
            raise EOFError
        incoming, length = Frame.parse_frame_header(memoryview(start))
        incoming.parse_body(memoryview(self._read(length)))
        self._take(incoming)

    def _read(self, size: int) -> bytes:
        while len(self._unread) < size:
            try:
                part = self._sock.recv(65536)
            except _CLOSED:
                part = b""
            if not part:
                raise EOFError
            self._unread += part
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def _take(self, incoming: Frame) -> None:
        answer = self.of(incoming.stream_id)
        if isinstance(incoming, HeadersFrame | ContinuationFrame):
            self._block += incoming.data
            if "END_HEADERS" in incoming.flags:
                self._take_head(answer)
        elif isinstance(incoming, DataFrame):
            answer.body += incoming.data
            self.sizes.append(len(incoming.data))
        elif isinstance(incoming, RstStreamFrame):
            answer.reset = incoming.error_code
        elif isinstance(incoming, GoAwayFrame):
            self.goaway = incoming.error_code
        elif isinstance(incoming, SettingsFrame):
            self._take_settings(incoming)
        elif isinstance(incoming, PingFrame):
            if "ACK" in incoming.flags:
                self.pongs.append(incoming.opaque_data)
            else:
                self.send(ping(incoming.opaque_data, ACK))
        if "END_STREAM" in incoming.flags:
            answer.ended = True

    def _take_settings(self, incoming: SettingsFrame) -> None:
        if "ACK" in incoming.flags:
            self.acknowledged += 1
        else:
            self.settings.update(incoming.settings)
            self.send(frame(SETTINGS, flags=ACK))

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
