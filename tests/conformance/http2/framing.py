"""The connection and its frames: RFC 9113 §3 to §6, without requests' own rules."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from tests.conformance.case import Seen
from tests.conformance.http2.case import (
    IGNORED,
    SERVED,
    Case,
    Until,
    connection_error,
    stream_error,
)
from tests.conformance.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GET,
    GOAWAY,
    HEADERS,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    LATE,
    LIST_SIZE,
    MAGIC,
    MAX_STREAMS,
    NO_OLD_PRIORITIES,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RESERVED,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    UNKNOWN,
    WEIGHTED,
    WINDOW_SIZE,
    WINDOW_UPDATE,
    block,
    continuation,
    data,
    frame,
    goaway,
    head,
    headers,
    ping,
    priority,
    priority_update,
    settings,
)
from tests.conformance.http2.wire import Wire

ROOT = Seen(b"GET", b"/")
ABC = Seen(b"POST", b"/", b"abc")
PROTOCOL = connection_error("PROTOCOL_ERROR")
SIZE = connection_error("FRAME_SIZE_ERROR", "PROTOCOL_ERROR")
PADDING = connection_error("PROTOCOL_ERROR", "FRAME_SIZE_ERROR")
"""Where a wrong length is a wrong field's as well, servers differ in the code."""
REQUEST = headers(1, GET)


def prefaces() -> Iterator[Case]:
    source = "RFC 9113 §3.4"
    other = ("HTTP/1.1 505", "HTTP/1.1 400", *PROTOCOL, "unanswered")
    for name, preface, verdicts in (
        ("another protocol's version", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n", other),
        ("a preface that ends otherwise", MAGIC[:-6] + b"XX\r\n\r\n" + settings(), other),
        ("frames without a preface", settings() + REQUEST, ("HTTP/1.1 400", *other)),
        ("no SETTINGS behind the preface", MAGIC + ping(), PROTOCOL),
        ("a request behind the preface", MAGIC + REQUEST, PROTOCOL),
        ("an acknowledgement first", MAGIC + frame(SETTINGS, flags=ACK), PROTOCOL),
        ("a second preface", PREFACE + MAGIC + settings(), connection_error(
            "FRAME_SIZE_ERROR", "PROTOCOL_ERROR")),
    ):  # fmt: skip
        yield Case(name, source, (), verdicts, stream=0, preface=preface)
    yield Case(
        "the preface in two pieces", source, (MAGIC[20:] + settings(), REQUEST),
        preface=MAGIC[:20], seen=(ROOT,),
    )  # fmt: skip
    yield Case(
        "requests before the server's SETTINGS", source, (), preface=PREFACE + REQUEST, seen=(ROOT,)
    )


def sizes() -> Iterator[Case]:
    source = "RFC 9113 §4.2"
    for name, kind, stream, verdicts in (
        ("DATA", DATA, 1, ("GOAWAY FRAME_SIZE_ERROR", *stream_error("FRAME_SIZE_ERROR"))),
        ("HEADERS", HEADERS, 1, connection_error("FRAME_SIZE_ERROR")),
        ("CONTINUATION", CONTINUATION, 1, connection_error("FRAME_SIZE_ERROR")),
        ("SETTINGS", SETTINGS, 0, connection_error("FRAME_SIZE_ERROR")),
        ("PING", PING, 0, connection_error("FRAME_SIZE_ERROR")),
        ("an unknown kind", UNKNOWN, 0, connection_error("FRAME_SIZE_ERROR")),
    ):
        first = {DATA: headers(1, POST, END_HEADERS), CONTINUATION: headers(1, GET, END_STREAM)}
        yield Case(
            f"{name} larger than SETTINGS_MAX_FRAME_SIZE",
            source,
            (Until(), first.get(kind, b""), too_large(kind, stream)),
            verdicts,
            stream=1 if kind == DATA else 0,
        )
    for name, kind, stream, payload in (
        ("a SETTINGS of 5 octets", SETTINGS, 0, b"12345"),
        ("an acknowledgement with a payload", SETTINGS, 0, b"123456"),
        ("a PING of 7 octets", PING, 0, b"1234567"),
        ("a PING of 9 octets", PING, 0, b"123456789"),
        ("a WINDOW_UPDATE of 3 octets", WINDOW_UPDATE, 0, b"123"),
        ("a WINDOW_UPDATE of 5 octets", WINDOW_UPDATE, 0, b"12345"),
        ("a RST_STREAM of 3 octets", RST_STREAM, 1, b"123"),
        ("a RST_STREAM of 5 octets", RST_STREAM, 1, b"12345"),
        ("a GOAWAY of 7 octets", GOAWAY, 0, b"1234567"),
    ):
        flags = ACK if "acknowledgement" in name else 0
        before = headers(1, LATE, END_HEADERS) if stream else b""
        yield Case(
            name,
            f"RFC 9113 §4.2, §6.{kind + 1}",
            (before, frame(kind, stream, payload, flags)),
            SIZE,
            stream=0,
        )
    yield Case(
        "a PRIORITY of 4 octets",
        "RFC 9113 §6.3",
        (frame(PRIORITY, 1, b"1234"),),
        ("GOAWAY FRAME_SIZE_ERROR", *stream_error("FRAME_SIZE_ERROR")),
        stream=0,
    )
    yield Case(
        "HEADERS too short for their weight",
        "RFC 9113 §4.2, §6.2",
        (headers(1, b"1234", END_HEADERS | END_STREAM | WEIGHTED),),
        SIZE,
        stream=0,
    )
    yield Case(
        "a whole frame of 16,384 octets",
        source,
        (headers(1, head(b"POST"), END_HEADERS), data(1, b"x" * LARGEST_FRAME)),
        seen=(Seen(b"POST", b"/", b"x" * LARGEST_FRAME),),
    )


def too_large(kind: int, stream: int) -> Callable[[Wire], bytes]:
    def sent(wire: Wire) -> bytes:
        size = min(wire.settings.get(FRAME_SIZE, LARGEST_FRAME) + 1, 2**24 - 1)
        return frame(kind, stream, bytes(size), END_HEADERS)

    return sent


def strays() -> Iterator[Case]:
    """Frames on a stream that cannot have them, and what has to be ignored."""
    for name, sent, section in (
        ("DATA", data(0, b"x"), "6.1"),
        ("HEADERS", headers(0, GET), "6.2"),
        ("PRIORITY", priority(0), "6.3"),
        ("RST_STREAM", frame(RST_STREAM, 0, bytes(4)), "6.4"),
        ("CONTINUATION", continuation(0, block(GET)), "6.10"),
    ):
        yield Case(f"{name} on stream 0", f"RFC 9113 §{section}", (sent,), PROTOCOL, stream=0)
    for name, sent, section in (
        ("SETTINGS", frame(SETTINGS, 1), "6.5"),
        ("PING", ping(stream=1), "6.7"),
        ("GOAWAY", goaway(stream=1), "6.8"),
    ):
        yield Case(f"{name} on a stream", f"RFC 9113 §{section}", (sent,), PROTOCOL, stream=0)
    promise = frame(PUSH_PROMISE, 1, struct.pack(">I", 2) + block(GET), END_HEADERS)
    yield Case(
        "PUSH_PROMISE of a client", "RFC 9113 §8.4", (headers(1, LATE), promise), PROTOCOL, stream=0
    )
    unknown = frame(UNKNOWN, 0, b"whatever", 0xFF)
    for name, before, section in (
        ("an unknown frame", unknown, "4.1, §5.5"),
        ("an unknown frame on an idle stream", frame(UNKNOWN, 9, b"x"), "4.1, §5.5"),
        ("an unknown frame on the stream", frame(UNKNOWN, 1, b"x"), "4.1, §5.5"),
        ("unknown flags of a PING", ping(flags=0xFE), "4.1"),
        ("a reserved bit", frame(PING, RESERVED, bytes(8)), "4.1"),
        ("PRIORITY of an idle stream", priority(1), "5.3.2, §6.3"),
        ("PRIORITY of a server's stream", priority(2), "5.3.2, §6.3"),
        ("PUSH disabled", settings((ENABLE_PUSH, 0)), "6.5.2"),
        ("unknown SETTINGS", settings((0xABCD, 7), (0, 1)), "6.5.2"),
        ("no SETTINGS in a frame", settings(), "6.5"),
        ("no streams for the server", settings((MAX_STREAMS, 0)), "6.5.2"),
        ("frames of any size", settings((FRAME_SIZE, 2**24 - 1)), "6.5.2"),
        ("a small header list, an advice", settings((LIST_SIZE, 1)), "6.5.2"),
        ("no dynamic table", settings((TABLE_SIZE, 0)), "4.3.1, §6.5.2"),
        ("a huge dynamic table", settings((TABLE_SIZE, 2**32 - 1)), "4.3.1, §6.5.2"),
    ):
        yield Case(
            f"{name} is no error",
            f"RFC 9113 §{section}",
            (before, REQUEST),
            _also_500(name),
            seen=(ROOT,),
        )
    for name, sent, section in (
        ("the reserved bit of a window", window_with_bit(), "6.9"),
        ("an acknowledgement of no PING", ping(flags=ACK), "6.7"),
    ):
        yield Case(f"{name} is ignored", f"RFC 9113 §{section}", (sent,), IGNORED, stream=0)


def _also_500(name: str) -> tuple[str, ...]:
    """A client that takes no header list may be told so instead."""
    return (*SERVED, "500", "RST_STREAM INTERNAL_ERROR") if "advice" in name else SERVED


def window_with_bit() -> bytes:
    return frame(WINDOW_UPDATE, 0, struct.pack(">I", RESERVED | 1))


def acknowledgements() -> Iterator[Case]:
    yield Case(
        "a PING is answered with its own octets",
        "RFC 9113 §6.7",
        (ping(b"\0\x01ABC\xff\xfe\n"), Until()),
        IGNORED,
        stream=0,
        check=lambda wire: wire.pongs[0] == b"\0\x01ABC\xff\xfe\n",
    )
    yield Case(
        "two PINGs are answered twice",
        "RFC 9113 §6.7",
        (ping(b"11111111") + ping(b"22222222"), Until()),
        IGNORED,
        stream=0,
        check=lambda wire: wire.pongs[:2] == [b"11111111", b"22222222"],
    )
    yield Case(
        "each SETTINGS is acknowledged",
        "RFC 9113 §6.5.3",
        (settings((WINDOW_SIZE, 1)) + settings((WINDOW_SIZE, 100)), Until()),
        IGNORED,
        stream=0,
        check=lambda wire: wire.acknowledged == 3,
    )
    yield Case(
        "of values in one SETTINGS the last one counts",
        "RFC 9113 §6.5.3",
        (settings((WINDOW_SIZE, 0), (WINDOW_SIZE, 100)), REQUEST),
        seen=(ROOT,),
    )
    for name, sent, code in (
        ("ENABLE_PUSH of 2", (ENABLE_PUSH, 2), "PROTOCOL_ERROR"),
        ("a window of 2^31", (WINDOW_SIZE, 2**31), "FLOW_CONTROL_ERROR"),
        ("frames of 16,383", (FRAME_SIZE, 16383), "PROTOCOL_ERROR"),
        ("frames of 2^24", (FRAME_SIZE, 2**24), "PROTOCOL_ERROR"),
    ):
        yield Case(
            f"SETTINGS with {name}",
            "RFC 9113 §6.5.2",
            (settings(sent),),
            connection_error(code),
            stream=0,
        )
    yield Case(
        "SETTINGS with NO_RFC7540_PRIORITIES of 2",
        "RFC 9218 §2.1",
        (settings((NO_OLD_PRIORITIES, 2)),),
        (*PROTOCOL, "ignored"),
        stream=0,
    )
    yield Case(
        "the largest values",
        "RFC 9113 §6.5.2",
        (settings((WINDOW_SIZE, LARGEST_WINDOW), (FRAME_SIZE, 2**24 - 1)), REQUEST),
        seen=(ROOT,),
    )
    for name, code in (("an unknown error", 0xFF), ("no error", 0)):
        yield Case(
            f"a GOAWAY with {name} lets a stream end",
            "RFC 9113 §6.8, §7",
            (REQUEST + goaway(code),),
            SERVED if not code else (*SERVED, "closed", "GOAWAY INTERNAL_ERROR"),
            seen=(ROOT,),
            last=True,
        )


def paddings() -> Iterator[Case]:
    source = "RFC 9113 §6.1"
    opened = headers(1, POST, END_HEADERS)
    both = END_STREAM | PADDED
    for name, payload in (
        ("padded DATA", b"\4abc\0\0\0\0"),
        ("DATA with a padding of none", b"\0abc"),
        ("DATA with 255 octets of padding", b"\xffabc" + bytes(255)),
    ):
        yield Case(name, source, (opened + frame(DATA, 1, payload, both),), seen=(ABC,))
    yield Case(
        "padding with something in it",
        source,
        (headers(1, head(b"POST", b"/late"), END_HEADERS), frame(DATA, 1, b"\3abcxyz", both)),
        (*SERVED, *PROTOCOL),
    )
    yield Case(
        "padding alone",
        source,
        (opened + frame(DATA, 1, b"\3\0\0\0", PADDED) + data(1, b"abc"),),
        seen=(ABC,),
    )
    for name, payload in (
        ("padding as long as the frame", b"\5abc\0"),
        ("padding longer than the frame", b"\xff"),
    ):
        sent = headers(1, head(b"POST", b"/late"), END_HEADERS) + frame(DATA, 1, payload, both)
        yield Case(f"DATA: {name}", source, (sent,), PROTOCOL, stream=0)
    yield Case(
        "DATA: no room for the padding's length",
        source,
        (headers(1, head(b"POST", b"/late"), END_HEADERS) + frame(DATA, 1, b"", both),),
        PADDING,
        stream=0,
    )
    full = END_HEADERS | END_STREAM
    weight = struct.pack(">IB", 0, 15)
    for name, flags, before, after in (
        ("padded HEADERS", PADDED, b"\5", bytes(5)),
        ("weighted HEADERS", WEIGHTED, weight, b""),
        ("HEADERS with both", PADDED | WEIGHTED, b"\3" + weight, bytes(3)),
    ):
        sent = headers(1, block(GET) + after, full | flags, before)
        yield Case(name, "RFC 9113 §6.2", (sent,), seen=(ROOT,))
    for name, sent in (
        ("padding longer than the frame", headers(1, b"\xff" + block(LATE), full | PADDED)),
        ("no room behind padding and weight", headers(1, b"\1" + weight, full | PADDED | WEIGHTED)),
    ):
        yield Case(f"HEADERS: {name}", "RFC 9113 §6.2", (sent,), PADDING, stream=0)


def continuations() -> Iterator[Case]:
    source = "RFC 9113 §4.3, §6.10"
    packed = block(GET)
    part, rest = packed[:7], packed[7:]
    begun = headers(1, part, END_STREAM)
    yield Case("a head in two frames", source, (begun + continuation(1, rest),), seen=(ROOT,))
    yield Case(
        "a head in two packets",
        source,
        (begun, continuation(1, rest)),
        seen=(ROOT,),
    )
    yield Case(
        "a head in five frames",
        source,
        (
            headers(1, b"", END_STREAM)
            + continuation(1, part, 0)
            + continuation(1, b"", 0)
            + continuation(1, rest, 0)
            + continuation(1, b""),
        ),
        (*SERVED, "GOAWAY ENHANCE_YOUR_CALM", "closed"),
        seen=(ROOT,),
    )
    for name, between in (
        ("DATA", data(1, b"x", 0)),
        ("HEADERS of another stream", headers(3, LATE)),
        ("HEADERS of its own", headers(1, rest)),
        ("PRIORITY", priority(1)),
        ("a PING", ping()),
        ("SETTINGS", settings()),
        ("a WINDOW_UPDATE", window_with_bit()),
        ("an unknown frame", frame(UNKNOWN, 1, b"x")),
        ("a RST_STREAM", frame(RST_STREAM, 1, bytes(4))),
        ("a CONTINUATION of another stream", continuation(3, rest)),
    ):
        yield Case(
            f"{name} inside a head",
            source,
            (begun + between + continuation(1, rest),),
            PROTOCOL,
            stream=0,
        )
    for name, before in (
        ("a whole head", headers(1, LATE)),
        ("DATA", headers(1, LATE, END_HEADERS) + data(1, b"x", 0)),
        ("nothing", b""),
    ):
        yield Case(
            f"a CONTINUATION behind {name}",
            source,
            (before + continuation(1, block([(b"x", b"y")])),),
            PROTOCOL,
            stream=0,
        )


def priorities() -> Iterator[Case]:
    for name, sent in (
        ("PRIORITY of itself", priority(1, on=1)),
        ("PRIORITY that turns a tree round", priority(3, on=5) + priority(5, on=3)),
        ("exclusive PRIORITY", priority(3, on=RESERVED | 1, weight=255)),
    ):
        yield Case(
            f"{name} has no meaning any more",
            "RFC 9113 §5.3.2",
            (sent + headers(1, LATE),),
            (*SERVED, *stream_error("PROTOCOL_ERROR")),
        )
    weight = struct.pack(">IB", 1, 15)
    yield Case(
        "HEADERS that depend on themselves",
        "RFC 9113 §5.3.2",
        (headers(1, LATE, END_HEADERS | END_STREAM | WEIGHTED, weight),),
        ("GOAWAY PROTOCOL_ERROR", *SERVED, *stream_error("PROTOCOL_ERROR")),
    )
    for name, sent in (
        ("before its stream", priority_update(1, b"u=0, i")),
        ("that says nothing", priority_update(1, b"")),
        ("that cannot be read", priority_update(1, b"u=,,\xff")),
    ):
        yield Case(
            f"a PRIORITY_UPDATE {name}",
            "RFC 9218 §7.1",
            (sent + headers(1, LATE),),
            (*SERVED, *PROTOCOL),
        )
    for name, sent, code in (
        ("for no stream", priority_update(0), "PROTOCOL_ERROR"),
        ("on a stream", priority_update(1, on=1), "PROTOCOL_ERROR"),
        ("too short for its stream", frame(0x10, 0, b"123"), "FRAME_SIZE_ERROR"),
    ):
        yield Case(
            f"a PRIORITY_UPDATE {name}",
            "RFC 9218 §7.1; a server need not know the frame",
            (sent,),
            ("ignored", *connection_error(code))
            if name == "for no stream"
            else (*connection_error(code), "ignored"),
            stream=0,
        )


FRAMING = (prefaces, sizes, strays, acknowledgements, paddings, continuations, priorities)
