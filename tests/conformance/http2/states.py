"""Streams: their numbers, states and windows (RFC 9113 §5, §6.9)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Seen
from tests.conformance.http2.case import (
    IGNORED,
    Case,
    Until,
    connection_error,
    stream_error,
)
from tests.conformance.http2.frames import (
    END_HEADERS,
    GET,
    LARGEST_WINDOW,
    LATE,
    POST,
    PREFACE,
    WINDOW_SIZE,
    block,
    continuation,
    data,
    head,
    headers,
    priority,
    reset,
    settings,
    window,
)

ROOT = Seen(b"GET", b"/")
PROTOCOL = connection_error("PROTOCOL_ERROR")
CLOSED = stream_error("STREAM_CLOSED")
LATE_POST = head(b"POST", b"/late")
LARGE, SIZE = headers(1, head(path=b"/large")), 200_000
"""What is larger than the first windows."""
SEEN_LARGE = (Seen(b"GET", b"/large"),)


def numbers() -> Iterator[Case]:
    source = "RFC 9113 §5.1.1"
    for name, sent in (
        ("an even stream", headers(2, LATE)),
        ("a stream below the last one", headers(5, LATE) + headers(3, LATE)),
    ):
        codes = ("PROTOCOL_ERROR", "STREAM_CLOSED")
        yield Case(name, source, (sent,), connection_error(*codes), stream=0)
    yield Case(
        "a stream twice",
        source,
        (headers(1, LATE), Until(1), headers(1, LATE)),
        (*IGNORED, *connection_error("STREAM_CLOSED", "PROTOCOL_ERROR")),
        stream=0,
    )
    yield Case(
        "streams that are left out", source, (headers(0x1235, GET),), stream=0x1235, seen=(ROOT,)
    )
    yield Case(
        "many streams at once",
        "RFC 9113 §5.1.2",
        (b"".join(headers(stream, head(path=b"/late")) for stream in range(3, 101, 2)),
         headers(101, GET), Until(99)),
        stream=101,
        seen=(ROOT,),
    )  # fmt: skip
    yield Case(
        "more streams than are allowed",
        "RFC 9113 §5.1.2",
        (
            b"".join(headers(stream, LATE_POST, END_HEADERS) for stream in range(1, 603, 2)),
            Until(601),
            b"".join(reset(stream) for stream in range(1, 600, 2)),
        ),
        stream_error("REFUSED_STREAM", "PROTOCOL_ERROR"),
        stream=601,
    )


def idle() -> Iterator[Case]:
    source = "RFC 9113 §5.1"
    for name, sent in (
        ("DATA", data(1, b"x")),
        ("RST_STREAM", reset(1)),
        ("WINDOW_UPDATE", window(1, 1)),
        ("CONTINUATION", continuation(1, block(LATE))),
    ):
        yield Case(f"{name} on an idle stream", source, (sent,), PROTOCOL, stream=0)
    for name, sent in (("RST_STREAM", reset(2)), ("WINDOW_UPDATE", window(2, 1))):
        yield Case(f"{name} on a server's idle stream", source, (sent,), PROTOCOL, stream=0)


def half_closed() -> Iterator[Case]:
    source = "RFC 9113 §5.1: half-closed (remote)"
    for name, sent in (
        ("DATA", data(1, b"x")),
        ("empty DATA", data(1)),
        ("HEADERS", headers(1, [(b"x", b"y")])),
    ):
        codes = ("GOAWAY STREAM_CLOSED", *CLOSED, *stream_error("PROTOCOL_ERROR"))
        yield Case(f"{name} behind the end", source, (headers(1, LATE) + sent,), codes, stream=1)
    for name, sent in (
        ("WINDOW_UPDATE", window(1, 1)),
        ("PRIORITY", priority(1)),
    ):
        yield Case(f"{name} behind the end", source, (headers(1, GET) + sent,), seen=(ROOT,))
    yield Case(
        "RST_STREAM behind the end",
        source,
        (headers(1, LATE) + reset(1),),
        IGNORED,
    )


def closed() -> Iterator[Case]:
    source = "RFC 9113 §5.1: closed; to ignore it is allowed"
    ended = (headers(1, GET), Until(1))
    late = (headers(1, LATE), Until(1))
    for name, sent in (
        ("DATA", data(1, b"x")),
        ("trailers", headers(1, [(b"x", b"y")])),
    ):
        yield Case(
            f"{name} on an ended stream",
            source,
            (*late, sent),
            (*IGNORED, *CLOSED, "GOAWAY PROTOCOL_ERROR"),
            stream=0,
        )
    for name, sent in (
        ("WINDOW_UPDATE", window(1, 1)),
        ("PRIORITY", priority(1)),
        ("RST_STREAM", reset(1)),
    ):
        yield Case(f"{name} on an ended stream", source, (*ended, sent), seen=(ROOT,))
    for name, sent in (
        ("DATA", data(1, b"x")),
        ("HEADERS", headers(1, LATE)),
        ("CONTINUATION", continuation(1, block(LATE))),
    ):
        yield Case(
            f"{name} on a stream that the client has reset",
            source,
            (headers(1, LATE_POST, END_HEADERS) + reset(1), sent),
            (
                "GOAWAY PROTOCOL_ERROR" if name == "CONTINUATION" else "ignored",
                *connection_error("STREAM_CLOSED", "PROTOCOL_ERROR"),
                "RST_STREAM STREAM_CLOSED",
            ),
            stream=0,
        )
    yield Case(
        "a reset stream hurts no other",
        "RFC 9113 §5.4.2",
        (headers(1, LATE_POST, END_HEADERS) + headers(3, GET) + reset(1),),
        stream=3,
        seen=(ROOT,),
    )


def windows() -> Iterator[Case]:
    source = "RFC 9113 §6.9"
    request = headers(1, LATE_POST, END_HEADERS)
    flow = "FLOW_CONTROL_ERROR"
    yield Case("an increment of 0 for the connection", source, (window(0, 0),), PROTOCOL, stream=0)
    yield Case(
        "an increment of 0 for a stream",
        source,
        (request + window(1, 0),),
        ("GOAWAY PROTOCOL_ERROR", *stream_error("PROTOCOL_ERROR")),
    )
    for name, sent in (
        ("one increment", window(0, LARGEST_WINDOW)),
        ("two increments", window(0, LARGEST_WINDOW - 65535) + window(0, 1)),
    ):
        yield Case(
            f"the connection's window overflows by {name}",
            "RFC 9113 §6.9.1",
            (sent,),
            connection_error(flow),
            stream=0,
        )
    for name, sent in (
        ("one increment", window(1, LARGEST_WINDOW)),
        ("two increments", window(1, LARGEST_WINDOW - 65535) + window(1, 1)),
    ):
        yield Case(
            f"a stream's window overflows by {name}",
            "RFC 9113 §6.9.1",
            (request + sent,),
            ("GOAWAY FLOW_CONTROL_ERROR", *stream_error(flow)),
        )
    yield Case(
        "a stream's window overflows by SETTINGS",
        "RFC 9113 §6.9.2",
        (request + window(1, LARGEST_WINDOW - 65535) + settings((WINDOW_SIZE, 65536)),),
        ("GOAWAY FLOW_CONTROL_ERROR", *stream_error(flow)),
    )
    yield Case(
        "windows may be as large as they get",
        "RFC 9113 §6.9.1",
        (window(0, LARGEST_WINDOW - 65535) + LARGE + window(1, LARGEST_WINDOW - 65535),),
        seen=SEEN_LARGE,
        check=lambda wire: len(wire.of(1).body) == SIZE,
    )


def answers_in_windows() -> Iterator[Case]:
    source = "RFC 9113 §6.9.1"
    grown = window(0, SIZE) + window(1, SIZE)
    yield Case(
        "an answer stops at the window, and goes on",
        source,
        (LARGE, Until(1, 65535), Until(), grown),
        seen=SEEN_LARGE,
        check=lambda wire: len(wire.of(1).body) == SIZE,
    )
    yield Case(
        "a stream's window alone does not help",
        source,
        (LARGE, Until(1, 65535), window(1, SIZE), Until()),
        IGNORED,
        seen=SEEN_LARGE,
        check=lambda wire: len(wire.of(1).body) == 65535,
        last=True,
    )
    yield Case(
        "a connection's window alone does not help",
        source,
        (LARGE, Until(1, 65535), window(0, SIZE), Until()),
        IGNORED,
        seen=SEEN_LARGE,
        check=lambda wire: len(wire.of(1).body) == 65535,
    )
    yield Case(
        "a stopped stream stops no other",
        "RFC 9113 §5.2",
        (LARGE, Until(1, 65535), window(0, SIZE) + headers(3, GET)),
        stream=3,
        seen=(*SEEN_LARGE, ROOT),
    )
    small = PREFACE + settings((WINDOW_SIZE, 1))
    yield Case(
        "a window of one octet",
        "RFC 9113 §6.9.2",
        (headers(1, GET), Until(1, 1), Until(), window(1, 1), Until(1), settings((WINDOW_SIZE, 9))),
        seen=(ROOT,),
        check=lambda wire: [size for size in wire.sizes if size][:2] == [1, 1],
        preface=small,
    )
    yield Case(
        "a shut window, opened by SETTINGS in mid-stream",
        "RFC 9113 §6.9.2",
        (headers(1, GET), Until(1, 0), Until(), settings((WINDOW_SIZE, 3))),
        seen=(ROOT,),
        preface=PREFACE + settings((WINDOW_SIZE, 0)),
    )
    yield Case(
        "a window below zero",
        "RFC 9113 §6.9.2",
        (
            headers(1, head(path=b"/large")),
            Until(1, 3),
            settings((WINDOW_SIZE, 2)),
            window(1, 1),  # now it is 0
            Until(),
            window(1, 1),
            Until(1, 4),
            Until(),
            settings((WINDOW_SIZE, 300_000)),
            window(0, SIZE),
        ),
        seen=SEEN_LARGE,
        check=lambda wire: wire.sizes[:2] == [3, 1],
        preface=PREFACE + settings((WINDOW_SIZE, 3)),
    )
    yield Case(
        "a shut window holds no head",
        "RFC 9113 §6.9",
        (headers(1, head(b"HEAD")),),
        seen=(Seen(b"HEAD", b"/"),),
        check=lambda wire: wire.of(1).body == b"",
        preface=PREFACE + settings((WINDOW_SIZE, 0)),
        last=True,
    )
    whole = b"x" * 65535
    yield Case(
        "a body that fills the windows",
        source,
        (
            headers(1, POST, END_HEADERS),
            *(data(1, whole[at : at + 16384], 0) for at in range(0, 65535, 16384)),
            data(1),
        ),
        seen=(Seen(b"POST", b"/", whole),),
    )


STATES = (numbers, idle, half_closed, closed, windows, answers_in_windows)
