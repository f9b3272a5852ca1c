"""The one place that knows the HTTP/2 engine: ngh2, libnghttp2 underneath (the extra `http2`).

It is sans-I/O: bytes of the peer in, events out; messages in, bytes for the transport out.
The engine holds frames, HPACK, the states of streams, flow control and priorities to the
letter of RFC 9113, RFC 7541 and RFC 9218. It resets a stream, or goes away, where a client
breaks them.
"""

from __future__ import annotations

import struct

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    ConnectionStateError,
    DataReceived,
    DenialOfServiceError,
    ErrorCode,
    Event,
    GoAwayReceived,
    InformationalResponseReceived,
    InternalError,
    NGH2Error,
    PingAcknowledged,
    PingReceived,
    PriorityUpdateReceived,
    RequestReceived,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    StreamProtocolError,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

from ..config.http2_limits import WINDOW, Http2Limits

Engine = Connection
EngineError = NGH2Error
ENGINE_FAULTS = (InternalError, ConnectionStateError)
"""EngineErrors that no client may cause."""
Flood = DenialOfServiceError
"""An EngineError: too many frames of a kind that the engine itself counts."""
EngineEnded = ConnectionStateError
"""Both sides have said good-bye and no stream is left; ConnectionClosed is on its way."""
StreamGone = StreamProtocolError
"""A stream takes nothing more: it has ended, and its StreamClosed is on its way."""

__all__ = [
    "AT_ONCE",
    "ENGINE_FAULTS",
    "MAX_WINDOW",
    "WIDE_STREAMS",
    "WIDE_WINDOW",
    "ConnectionClosed",
    "DataReceived",
    "Engine",
    "EngineEnded",
    "EngineError",
    "ErrorCode",
    "Event",
    "Flood",
    "GoAwayReceived",
    "InformationalResponseReceived",
    "PingAcknowledged",
    "PingReceived",
    "PriorityUpdateReceived",
    "RequestReceived",
    "ResponseReceived",
    "Setting",
    "SettingsReceived",
    "StreamClosed",
    "StreamGone",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
    "connection_window",
    "goaway_frame",
    "make_client_engine",
    "make_server_engine",
    "most_heads",
    "room_for",
]

STREAM_WINDOW = 65535
"""Bytes that a client may send on one stream before its backend has taken some. It is what HTTP/2
begins with (RFC 9113 §6.9.2), so it holds for the first streams, too."""
WIDE_WINDOW = 262144
"""The same once the backend takes the body: the client need not wait for each round trip."""
WIDE_STREAMS = 16
"""So many streams of a connection may have it at once."""
ANSWER_WINDOW = 131072
"""Bytes that a backend may send on one stream before its client has taken some."""
AT_ONCE = 32768
"""Bytes that are decoded before their requests are judged: HPACK makes thousands of one."""
LARGEST_HEADS = 16
"""Heads of the largest size that a connection's streams may have together, at least."""
MAX_WINDOW = 2**31 - 1
LARGEST_HEAD = 2**24
"""Bytes of the fields that we send. Both sides are held to their own limits elsewhere."""
ACKNOWLEDGEMENTS = 1000
"""Answers to PING and SETTINGS that may wait for a client that does not read."""


def make_server_engine(limits: Http2Limits, *, head: int, headers: int, tunnels: bool) -> Engine:
    """The engine of a client's connection; its SETTINGS are ready to be sent.

    `head`: bytes of a request's fields, `headers`: how many; `tunnels`: clients may open
    WebSockets by an extended CONNECT (RFC 8441).

    The connection's window has room for all streams' windows, or uploads that wait for their
    backends would hold up those that are served. It has twice that room, since the engine tells
    a client what was taken only once it is half of the window.

    A head may be twice as large as the limits say, so that one that is a little too large is
    answered 431; a larger one ends the connection.
    """
    engine = Connection(
        Role.SERVER,
        Configuration(
            auto_window_update=False,
            max_send_header_block_length=LARGEST_HEAD,
            max_outbound_ack=ACKNOWLEDGEMENTS,
            max_inbound_header_list_size=2 * head,
            max_inbound_header_count=2 * headers,
            stream_reset_rate_limit=_bucket(limits.max_resets),
        ),
    )
    engine.initiate_connection(
        {
            Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
            Setting.MAX_HEADER_LIST_SIZE: head,
            Setting.ENABLE_CONNECT_PROTOCOL: int(tunnels),
            Setting.NO_RFC7540_PRIORITIES: 1,
        }
    )
    engine.set_local_window_size(connection_window(limits))
    return engine


def _bucket(rate: int) -> tuple[int, int]:
    """Burst and rate (per second) of the engine's own limiter; 0 means no limit."""
    return (WINDOW * rate, rate) if rate else (MAX_WINDOW, MAX_WINDOW)


def make_client_engine(streams: int, *, head: int) -> Engine:
    """The engine of a backend's connection; its SETTINGS are ready to be sent.

    The connection's window has room for `streams` that nobody reads, twice as for clients. An
    answer whose fields have more than `head` bytes is reset.
    """
    engine = Connection(
        Role.CLIENT,
        Configuration(
            auto_window_update=False,
            max_send_header_block_length=LARGEST_HEAD,
            max_outbound_ack=ACKNOWLEDGEMENTS,
            max_inbound_header_list_size=head,
        ),
    )
    engine.initiate_connection(
        {
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: ANSWER_WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: head,
        }
    )
    engine.set_local_window_size(room_for(streams))
    return engine


def room_for(streams: int) -> int:
    """Bytes that a backend may send on a connection: twice what all streams' windows have."""
    return min(2 * ANSWER_WINDOW * streams, MAX_WINDOW)


def connection_window(limits: Http2Limits) -> int:
    """Bytes that a client may send on a connection: twice what all streams' windows have."""
    wide = min(WIDE_STREAMS, limits.max_streams)
    all_streams = STREAM_WINDOW * limits.max_streams + (WIDE_WINDOW - STREAM_WINDOW) * wide
    return min(2 * all_streams, MAX_WINDOW)


def most_heads(limits: Http2Limits, head: int) -> int:
    """Bytes of heads, each of `head` at most, that a connection's streams may have together."""
    return head * max(LARGEST_HEADS, limits.max_streams // 8)


def goaway_frame(last_stream: int, code: ErrorCode, text: bytes = b"") -> bytes:
    """A GOAWAY frame (RFC 9113 §6.8), for when the engine cannot make it any more; `text` is its
    debug data."""
    payload = struct.pack(">II", last_stream, code) + text
    return len(payload).to_bytes(3, "big") + b"\x07\0\0\0\0\0" + payload
