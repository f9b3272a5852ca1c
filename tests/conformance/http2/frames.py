"""Frames and field blocks of HTTP/2 as bytes. They may break every rule: nothing is checked.

Field blocks use no compression unless they say so, hence none depends on another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from hpack.hpack import encode_integer
from hyperframe.frame import SettingsFrame

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)  # fmt: skip
PRIORITY_UPDATE = 0x10
UNKNOWN = 0xBB

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WEIGHTED = 0x20

TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS = 1, 2, 3
WINDOW_SIZE, FRAME_SIZE, LIST_SIZE = (
    int(SettingsFrame.INITIAL_WINDOW_SIZE),
    int(SettingsFrame.MAX_FRAME_SIZE),
    int(SettingsFrame.MAX_HEADER_LIST_SIZE),
)
NO_OLD_PRIORITIES = 9

LARGEST_FRAME = 16384
LARGEST_WINDOW = 2**31 - 1
RESERVED = 2**31

CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
    "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
    "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
"""Names of error codes, by their numbers (RFC 9113 §7)."""

Fields = Sequence[tuple[bytes, bytes]]


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


def settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *value) for value in values))


MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PREFACE = MAGIC + settings()


# Fields.


def head(
    method: bytes = b"GET",
    path: bytes = b"/",
    host: bytes = b"a.test",
    scheme: bytes = b"http",
) -> list[tuple[bytes, bytes]]:
    return [(b":method", method), (b":scheme", scheme), (b":authority", host), (b":path", path)]


GET, POST = head(), head(b"POST")
LATE = head(path=b"/late")
"""A request that may reach the backend or not, as its connection ends meanwhile."""


def without(name: bytes, fields: Fields = GET) -> list[tuple[bytes, bytes]]:
    return [field for field in fields if field[0] != name]


def text(data: bytes) -> bytes:
    """A string of HPACK without Huffman's code (RFC 7541 §5.2)."""
    return bytes(encode_integer(len(data), 7)) + data


def literal(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """A field that enters the dynamic table only if `indexed` (RFC 7541 §6.2)."""
    return (b"\x40" if indexed else b"\0") + text(name) + text(value)


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(literal(*field) for field in fields)


# Frames.


def headers(
    stream: int, fields: Fields | bytes, flags: int = END_HEADERS | END_STREAM, before: bytes = b""
) -> bytes:
    """HEADERS, `before` its block: the length of its padding, or its weight."""
    packed = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, stream, before + packed, flags)


def data(stream: int, payload: bytes = b"", flags: int = END_STREAM) -> bytes:
    return frame(DATA, stream, payload, flags)


def post(stream: int, body: bytes, *more: tuple[bytes, bytes], path: bytes = b"/") -> bytes:
    """A whole request with its body in one frame."""
    return headers(stream, [*head(b"POST", path), *more], END_HEADERS) + data(stream, body)


def continuation(stream: int, packed: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, stream, packed, flags)


def large_head(stream: int, fields: Fields) -> bytes:
    """HEADERS and as many CONTINUATIONs as it takes."""
    packed = block(fields)
    parts = [packed[at : at + LARGEST_FRAME] for at in range(0, len(packed), LARGEST_FRAME)]
    sent = [headers(stream, parts[0], END_STREAM)]
    sent += [continuation(stream, part, 0) for part in parts[1:-1]]
    return b"".join([*sent, continuation(stream, parts[-1])])


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, stream, struct.pack(">I", code))


def window(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, stream, struct.pack(">I", size))


def ping(payload: bytes = b"12345678", flags: int = 0, stream: int = 0) -> bytes:
    return frame(PING, stream, payload, flags)


def goaway(code: int = 0, stream: int = 0) -> bytes:
    return frame(GOAWAY, stream, struct.pack(">II", 0, code))


def priority(stream: int, on: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, stream, struct.pack(">IB", on, weight))


def priority_update(stream: int, value: bytes = b"u=1", on: int = 0) -> bytes:
    """RFC 9218 §7.1; `on` is the stream that the frame itself is on: 0, if it is legal."""
    return frame(PRIORITY_UPDATE, on, struct.pack(">I", stream) + value)
