"""The websockets library's server side, changed where a proxy needs it otherwise."""

from __future__ import annotations

from collections.abc import Generator

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

from .frames import NO_CODE, SMALL, small_frame


class ServerFrames(ServerProtocol):
    """It can close as a backend did that gave no code, and be closed inside a message."""

    def send_close(self, code: int | None = None, reason: str = "") -> None:
        super().send_close(None if code == NO_CODE else code, reason)

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # it may come inside a message (RFC 6455 §5.5.1)
        super().recv_frame(frame)

    def send_frame(self, frame: Frame) -> None:
        if self.extensions or len(frame.data) > SMALL:
            super().send_frame(frame)
        else:  # the library's general way costs three times as much
            self.writes.append(small_frame(frame.fin << 7 | frame.opcode, bytes(frame.data)))


class FramesOnly(ServerFrames):
    """The same, where the HTTP side has read the handshake."""

    def parse(self) -> Generator[None]:
        yield from Protocol.parse(self)
