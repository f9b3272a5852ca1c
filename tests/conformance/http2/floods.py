"""Frames that cost a server work and bring their sender nothing (RFC 9113 §10.5)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.http2.case import IGNORED, Case, connection_error
from tests.conformance.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    LATE,
    SETTINGS,
    UNKNOWN,
    block,
    continuation,
    data,
    frame,
    head,
    headers,
    literal,
    ping,
    priority,
    reset,
    settings,
    window,
)

CALM = connection_error("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "INTERNAL_ERROR", "NO_ERROR",
                        "REFUSED_STREAM", "STREAM_CLOSED", "FLOW_CONTROL_ERROR",
                        "FRAME_SIZE_ERROR", "COMPRESSION_ERROR")  # fmt: skip
AT_ONCE = {"of 0": "PROTOCOL_ERROR", "overflow": "FLOW_CONTROL_ERROR", "DATA": "STREAM_CLOSED"}
"""What ends the connection the first time, in our engine."""
BOMB = literal(b"x-bomb", b"b" * 3900, indexed=True)
LATE_POST = head(b"POST", b"/late")


def streams(frames: list[bytes], count: int) -> bytes:
    """The same frames on each of so many streams; they are made for stream 0."""
    sent = []
    for number in range(1, 2 * count, 2):
        sent += [each[:5] + number.to_bytes(4, "big") + each[9:] for each in frames]
    return b"".join(sent)


def floods() -> Iterator[Case]:
    source = "RFC 9113 §10.5"
    opened = headers(1, LATE_POST, END_HEADERS)
    for name, sent, why in (
        ("PINGs", ping() * 3000, "CVE-2019-9512"),
        ("SETTINGS", settings((3, 100)) * 3000, "CVE-2019-9515"),
        ("empty DATA", opened + data(1, b"", 0) * 12000, "CVE-2019-9518"),
        ("empty CONTINUATIONs", headers(1, b"", 0) + continuation(1, b"", 0) * 3000,
         "CVE-2024-27316"),
        ("CONTINUATIONs", headers(1, block(GET), 0)
         + continuation(1, literal(b"x-a", b"v" * 4000), 0) * 300, "CVE-2024-27316"),
    ):  # fmt: skip
        yield Case(f"a flood of {name}", f"{source}; {why}", (sent,), CALM, stream=0)


def resets() -> Iterator[Case]:
    get, opened = headers(0, LATE), headers(0, LATE_POST, END_HEADERS)
    for name, frames, why in (
        ("requests that the client resets", [get, reset(0)], "CVE-2023-44487"),
        ("uploads that the client resets", [opened, reset(0)], "CVE-2023-44487"),
        ("malformed requests", [headers(0, [*LATE, (b"X", b"1")])], "CVE-2025-8671"),
        ("increments of 0", [opened, window(0, 0)], "CVE-2025-8671"),
        ("increments that overflow", [opened, window(0, 2**31 - 1)], "CVE-2025-8671"),
        ("DATA behind the end", [get, data(0, b"x")], "CVE-2025-8671"),
        ("lengths that are wrong",
         [headers(0, [*LATE_POST, (b"content-length", b"9")])], "CVE-2025-8671"),
        ("PRIORITY of themselves", [priority(0), get, reset(0)], "CVE-2025-8671"),
    ):  # fmt: skip
        first = tuple(f"GOAWAY {code}" for word, code in AT_ONCE.items() if word in name)
        yield Case(
            f"a flood of {name}",
            f"RFC 9113 §10.5; {why}",
            (streams(frames, 12000),),
            first + CALM,
            stream=0,
        )


def bombs() -> Iterator[Case]:
    source = "RFC 9113 §10.5.1; CVE-2016-6581, CVE-2026-49975"
    stops = (*CALM, "431", "400", "RST_STREAM PROTOCOL_ERROR", "RST_STREAM ENHANCE_YOUR_CALM",
             "RST_STREAM INTERNAL_ERROR", "RST_STREAM REFUSED_STREAM")  # fmt: skip
    first = block(LATE) + BOMB
    yield Case(
        "a large field, thousands of times in one octet each",
        source,
        (headers(1, first + b"\xbe" * 12000),),
        stops,
    )
    yield Case(
        "an empty field, thousands of times in one octet each",
        source,
        (headers(1, block(LATE) + literal(b"x", b"", indexed=True) + b"\xbe" * 15000),),
        stops,
    )
    yield Case(
        "a crumb of Cookie, thousands of times in one octet each",
        source,
        (headers(1, block(LATE) + literal(b"cookie", b"a=b", indexed=True) + b"\xbe" * 15000),),
        stops,
    )


def cheap() -> Iterator[Case]:
    """What costs next to nothing may go on."""
    may = (*IGNORED, *CALM)
    for name, sent in (
        ("PRIORITY", priority(9) * 3000),
        ("unknown frames", frame(UNKNOWN, 0, b"x") * 3000),
    ):
        yield Case(f"many {name}", "RFC 9113 §10.5", (sent,), may, stream=0)
    increments = window(0, 1) * 3000
    yield Case(
        "many small increments", "RFC 9113 §10.5", (increments,), (*CALM, *IGNORED), stream=0
    )
    yield Case(
        "an acknowledgement of no SETTINGS",
        "RFC 9113 §6.5.3",
        (frame(SETTINGS, flags=ACK) * 2,),
        connection_error("PROTOCOL_ERROR") + IGNORED,
        stream=0,
    )
    yield Case(
        "a hundred PINGs",
        "RFC 9113 §6.7",
        (ping() * 100,),
        IGNORED,
        stream=0,
    )


def tls() -> Iterator[Case]:
    request = headers(1, head(path=b"/late", scheme=b"https"), END_HEADERS | END_STREAM)
    for offers in (("h2",), ("h2", "http/1.1"), ("http/1.1", "h2")):
        yield Case(
            f"ALPN: {' before '.join(offers)}",
            "RFC 9113 §3.2, RFC 7301 §3.2",
            (request,),
            alpn=offers,
        )
    other = ("HTTP/1.1 505", "HTTP/1.1 400", *connection_error("PROTOCOL_ERROR"))
    yield Case(
        "ALPN: http/1.1, and then the preface",
        "RFC 9113 §3.3",
        (request,),
        other,
        alpn=("http/1.1",),
    )
    yield Case(
        "ALPN: h2, and then HTTP/1.1",
        "RFC 9113 §3.2, §3.4",
        (),
        (*connection_error("PROTOCOL_ERROR"), "HTTP/1.1 400"),
        alpn=("h2",),
        preface=b"GET /late HTTP/1.1\r\nHost: a.test\r\n\r\n",
    )


FLOODS = (floods, resets, bombs, cheap, tls)
