"""Field blocks: HPACK (RFC 7541) and what follows from one table for all streams."""

from __future__ import annotations

from collections.abc import Iterator

from hpack import Encoder

from tests.conformance.case import Seen
from tests.conformance.http2.case import SERVED, Case, Until, connection_error
from tests.conformance.http2.frames import (
    END_HEADERS,
    END_STREAM,
    GET,
    PREFACE,
    TABLE_SIZE,
    block,
    continuation,
    head,
    headers,
    literal,
    settings,
)

ROOT = Seen(b"GET", b"/")
LATE = block(head(path=b"/late"))
BROKEN = connection_error("COMPRESSION_ERROR")
STATIC = b"\x82\x86\x84\x41\x06a.test"
"""GET, http, / from the static table, and an authority that enters the dynamic one."""
NEWEST = b"\xbe"
"""Field 62: the newest of the dynamic table."""
MINE = literal(b"x-mine", b"1", indexed=True)
ARRIVED = ((b"x-mine", [b"1"]),)


def legal_blocks() -> Iterator[Case]:
    many = block([(b"x-%d" % n, b"v" * 100) for n in range(50)]).replace(b"\0\x03x", b"\x40\x03x")
    for name, packed, source in (
        ("names and values from the static table", STATIC, "RFC 7541 §2.3.1, §6.1"),
        ("Huffman's code", Encoder().encode(GET, huffman=True), "RFC 7541 §5.2"),
        ("fields that are never indexed", block(GET).replace(b"\0", b"\x10"), "RFC 7541 §6.2.3"),
        ("a table of none", b"\x20" + STATIC, "RFC 7541 §4.2"),
        ("a table of none, then of 4,096", b"\x20\x3f\xe1\x1f" + STATIC, "RFC 7541 §4.2"),
        ("a field larger than the table", b"\x3f\x01" + STATIC, "RFC 7541 §4.4"),
        ("a length in more octets than it needs",
         block(GET[:3]) + b"\0\x05:path\x01/", "RFC 7541 §5.1"),
        ("entries that drive others out", STATIC + many, "RFC 7541 §4.4"),
    ):  # fmt: skip
        yield Case(f"legal: {name}", source, (headers(1, packed),), seen=(ROOT,))
    yield Case(
        "an entry of the first request, in the second one",
        "RFC 7541 §2.2",
        (headers(1, LATE + MINE), Until(1), headers(3, block(GET) + NEWEST)),
        stream=3,
        seen=(ROOT,),
        fields=ARRIVED,
    )
    yield Case(
        "a table made smaller by SETTINGS",
        "RFC 7541 §4.2, RFC 9113 §4.3.1",
        (headers(1, STATIC), Until(1), settings((TABLE_SIZE, 0)), Until(), headers(3, STATIC)),
        stream=3,
        seen=(ROOT, ROOT),
    )


def broken_blocks() -> Iterator[Case]:
    for name, packed, source in (
        ("index 0", b"\x80", "RFC 7541 §6.1"),
        ("an index behind the tables", NEWEST, "RFC 7541 §2.3.3"),
        ("an index far behind the tables", b"\xff\xff\xff\x7f", "RFC 7541 §2.3.3"),
        ("a name's index behind the tables", b"\x7e\x01a", "RFC 7541 §2.3.3"),
        ("a table larger than allowed", b"\x3f\xe1\xff\x03", "RFC 7541 §6.3"),
        ("a table's size behind a field", b"\x82\x20", "RFC 7541 §4.2"),
        ("an integer without end", b"\xff" + b"\xff" * 20 + b"\x7f", "RFC 7541 §5.1"),
        ("a string longer than the block", b"\0\x7f\x20abc", "RFC 7541 §5.2"),
        ("a block that ends in a field", b"\0\x01x", "RFC 9113 §4.3"),
        ("a block that ends in an integer", b"\x7f", "RFC 9113 §4.3"),
        ("eight bits of padding", b"\0\x01x\x82\x1f\xff", "RFC 7541 §5.2"),
        ("padding of zeros", b"\0\x01x\x81\x18", "RFC 7541 §5.2"),
        ("the end of a string in it", b"\0\x01x\x84\xff\xff\xff\xff", "RFC 7541 §5.2"),
    ):
        yield Case(f"broken: {name}", source, (headers(1, LATE + packed),), BROKEN, stream=0)
    yield Case(
        "an entry that was driven out",
        "RFC 7541 §4.4, §2.3.3",
        (headers(1, LATE + MINE), Until(1), headers(3, b"\x20" + LATE + NEWEST)),
        BROKEN,
        stream=0,
    )
    yield Case(
        "a broken end of a head in two frames",
        "RFC 9113 §4.3",
        (headers(1, LATE, END_STREAM) + continuation(1, b"\x80"),),
        BROKEN,
        stream=0,
    )
    yield Case(
        "a broken block of trailers",
        "RFC 9113 §4.3",
        (headers(1, block(head(b"POST", b"/late")), END_HEADERS) + headers(1, b"\x80"),),
        BROKEN,
        stream=0,
    )


def tables_in_step() -> Iterator[Case]:
    """What a refused block says of the table holds for the next one (RFC 9113 §4.3)."""
    source = "RFC 9113 §4.3, §5.4.2"
    second = headers(3, block(GET) + NEWEST)
    for name, first in (
        ("a malformed request", headers(1, block(GET) + literal(b"x y", b"1") + MINE)),
        ("a request without a path", headers(1, block(GET[:3]) + MINE)),
        ("a refused request", headers(1, block(head(path=b"/#")) + MINE)),
    ):
        yield Case(
            f"an entry in {name}",
            source,
            (first, Until(1), second),
            SERVED,
            3,
            (ROOT,),
            ARRIVED,
        )
    opened = headers(1, block(head(b"POST")) + literal(b"X", b"1"), END_HEADERS)
    yield Case(
        "an entry in the trailers of a stream that the server has reset",
        source,
        (opened + headers(1, MINE) + second,),
        (*SERVED, *connection_error("STREAM_CLOSED", "PROTOCOL_ERROR")),
        3,
        (ROOT,),
        ARRIVED,
    )
    yield Case(
        "the size of the table that the client allows is the server's limit",
        "RFC 7541 §4.2, RFC 9113 §4.3.1",
        (headers(1, GET), Until(1), headers(3, GET)),
        SERVED,
        3,
        (ROOT, ROOT),
        preface=PREFACE + settings((TABLE_SIZE, 0)),
    )


COMPRESSION = (legal_blocks, broken_blocks, tables_in_step)
