"""What a tracking connection says, in words that one process can send to another. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from ..tracking import TrackingListener

_LENGTH = struct.Struct("<I")


class NewsKind(IntEnum):
    """Which call of a TrackingListener it is, or of those who hear of keys and of the landmark."""

    TRACKING = 1
    LOST = 2
    UNREACHABLE = 3
    REFUSED = 4
    HEARD = 5
    KEYS = 6
    LANDMARK = 7


STATES = frozenset(
    {NewsKind.TRACKING, NewsKind.LOST, NewsKind.UNREACHABLE, NewsKind.REFUSED}
)  # fmt: skip


class TrackingNews(msgspec.Struct, frozen=True, array_like=True):
    """One call."""

    kind: NewsKind
    reason: str = ""
    keys: list[bytes] | None = None
    landmark: bytes = b""


class NewsFrame(msgspec.Struct, frozen=True, array_like=True):
    """Some calls, in their order."""

    as_of: float
    """Up to this moment (time.monotonic, which all processes of a machine share) the follower has
    been told of every change, if the listening worker tracks; and the latter was alive."""
    news: list[TrackingNews]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(NewsFrame).decode


def packed_frame(frame: NewsFrame) -> bytes:
    """A frame as it is sent."""
    body = _encode(frame)
    return _LENGTH.pack(len(body)) + body


def frames_in(buffer: bytearray) -> Iterator[NewsFrame]:
    """Take the complete frames out of what has come. Raises msgspec.DecodeError."""
    while len(buffer) >= _LENGTH.size:
        end = _LENGTH.size + _LENGTH.unpack_from(buffer)[0]
        if len(buffer) < end:
            return
        body = bytes(buffer[_LENGTH.size : end])
        del buffer[:end]
        yield _decode(body)


@dataclass(frozen=True, slots=True)
class TrackingEars:
    """Who hears what a tracking connection says; as for Tracker."""

    listener: TrackingListener
    on_keys: Callable[[list[bytes] | None], None]
    on_landmark: Callable[[bytes], None]

    def hear(self, news: TrackingNews) -> None:
        """Make the call that `news` stands for."""
        match news.kind:
            case NewsKind.KEYS:
                self.on_keys(news.keys)
            case NewsKind.LANDMARK:
                self.on_landmark(news.landmark)
            case NewsKind.HEARD:
                self.listener.heard()
            case NewsKind.TRACKING:
                self.listener.tracking()
            case NewsKind.LOST:
                self.listener.lost(news.reason)
            case NewsKind.UNREACHABLE:
                self.listener.unreachable(news.reason)
            case NewsKind.REFUSED:
                self.listener.refused(news.reason)


class NewsWriter:
    """A TrackingListener that writes down each call."""

    def __init__(self, out: Callable[[TrackingNews], None]) -> None:
        self.out = out

    def tracking(self) -> None:
        """Every change is reported from now on."""
        self.out(TrackingNews(NewsKind.TRACKING))

    def lost(self, reason: str) -> None:
        """No change is reported."""
        self.out(TrackingNews(NewsKind.LOST, _sendable(reason)))

    def unreachable(self, reason: str) -> None:
        """The server does not answer."""
        self.out(TrackingNews(NewsKind.UNREACHABLE, _sendable(reason)))

    def heard(self) -> None:
        """The server gave a sign of life."""
        self.out(TrackingNews(NewsKind.HEARD))

    def refused(self, reason: str) -> None:
        """The server never reports changes."""
        self.out(TrackingNews(NewsKind.REFUSED, _sendable(reason)))

    def partly(self, unseen: Callable[[str], bool]) -> None:
        """One server reports all or nothing."""

    def keys(self, keys: list[bytes] | None) -> None:
        """These keys changed; None: all of them."""
        self.out(TrackingNews(NewsKind.KEYS, keys=keys))

    def landmark(self, value: bytes) -> None:
        """All that was changed before it has been reported."""
        self.out(TrackingNews(NewsKind.LANDMARK, landmark=value))


def _sendable(reason: str) -> str:
    return reason.encode("utf-8", "replace").decode()
