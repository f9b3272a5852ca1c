"""Requests: RFC 9113 §8, and what of them reaches a backend of HTTP/1.1."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Seen
from tests.conformance.http2.case import MALFORMED, SERVED, Case, Until, stream_error
from tests.conformance.http2.frames import (
    END_HEADERS,
    GET,
    POST,
    Fields,
    data,
    head,
    headers,
    large_head,
    post,
    without,
)

ROOT = Seen(b"GET", b"/")
ABC = Seen(b"POST", b"/", b"abc")
BAD_REQUEST = ("400", *MALFORMED)
"""Well-formed HTTP/2 that this server will not have."""
LENGTH = b"content-length"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"


def shown(value: bytes) -> str:
    return repr(value)[2:-1]


def refused(
    cases: tuple[tuple[str, Fields], ...], source: str, verdicts: tuple[str, ...] = MALFORMED
) -> Iterator[Case]:
    for name, fields in cases:
        yield Case(name, source, (headers(1, fields),), verdicts)


def pseudo_fields() -> Iterator[Case]:
    yield from refused(
        (
            ("no method", without(b":method")),
            ("no scheme", without(b":scheme")),
            ("no path", without(b":path")),
            ("no pseudo-field at all", [(b"host", b"a.test")]),
            ("nothing at all", []),
            ("an empty path", head(path=b"")),
            ("an empty method", head(b"")),
            ("a method twice", [*GET, (b":method", b"GET")]),
            ("a path twice", [*GET, (b":path", b"/b")]),
            ("an authority twice", [*GET, (b":authority", b"b.test")]),
            ("a scheme twice", [*GET, (b":scheme", b"https")]),
            ("an unknown pseudo-field", [*GET, (b":version", b"HTTP/2.0")]),
            ("an answer's pseudo-field", [*GET, (b":status", b"200")]),
            ("the name of a pseudo-field alone", [*GET, (b":", b"x")]),
            ("a pseudo-field behind a field", [*GET[:3], (b"x-a", b"1"), GET[3]]),
            ("a pseudo-field in upper case", [*without(b":path"), (b":Path", b"/")]),
        ),
        "RFC 9113 §8.3, §8.3.1",
    )
    yield from refused(
        (("a protocol without CONNECT", [*GET, (b":protocol", b"websocket")]),),
        "RFC 8441 §4",
    )


def field_syntax() -> Iterator[Case]:
    names = (
        b"X-Upper",
        b"x upper",
        b"x:a",
        b"x\0",
        b"x\r\n",
        b"x\x7f",
        b"x\xe9",
        b"",
        b"x(",
        b" x",
    )
    yield from refused(
        tuple((f"the name {shown(name)}", [*GET, (name, b"1")]) for name in names),
        "RFC 9113 §8.2, §8.2.1",
    )
    values = (b"1\r\nx-b: 2", b"1\n2", b"1\r2", b"1\0", b"\n", b"1\r")
    yield from refused(
        tuple((f"the value {shown(value)}", [*GET, (b"x-a", value)]) for value in values),
        "RFC 9113 §8.2.1, §10.3",
    )
    yield from refused(
        tuple(
            (f"the value {shown(value)}, with its blank", [*GET, (b"x-a", value)])
            for value in (b" 1", b"1 ", b"\t1", b"1\t")
        ),
        "RFC 9113 §8.2.1",
    )
    for value in (b"\xe4\xff", b"", b"a\tb", b'"a, b"', b"x" * 4000):
        yield Case(
            f"the value {shown(value)[:20]} passes",
            "RFC 9110 §5.5",
            (headers(1, [*GET, (b"x-a", value)]),),
            seen=(ROOT,),
            fields=((b"x-a", [value]),),
        )
    yield Case(
        "fields of one name stay apart, and in their order",
        "RFC 9110 §5.3",
        (headers(1, [*GET, (b"x-a", b"2"), (b"x-b", b"1"), (b"x-a", b"1")]),),
        seen=(ROOT,),
        fields=((b"x-a", [b"2", b"1"]),),
    )


def connection_fields() -> Iterator[Case]:
    yield from refused(
        tuple(
            (f"{name.decode()}: {value.decode()}", [*GET, (name, value)])
            for name, value in (
                (b"connection", b"close"),
                (b"connection", b"x-a"),
                (b"keep-alive", b"timeout=5"),
                (b"proxy-connection", b"keep-alive"),
                (b"transfer-encoding", b"chunked"),
                (b"transfer-encoding", b"identity"),
                (b"upgrade", b"h2c"),
                (b"te", b"gzip"),
                (b"te", b"trailers, gzip"),
            )
        ),
        "RFC 9113 §8.2.2",
    )
    yield Case(
        "a coding with a body that it would hide",
        "RFC 9113 §8.2.2, §10.3",
        (headers(1, [*POST, (b"transfer-encoding", b"chunked")], END_HEADERS)
         + data(1, b"0\r\n\r\n" + HIDDEN),),
        MALFORMED,
    )  # fmt: skip
    yield Case("te: trailers", "RFC 9113 §8.2.2", (headers(1, [*GET, (b"te", b"trailers")]),),
               seen=(ROOT,))  # fmt: skip
    for name in (b"proxy-authorization", b"http2-settings", b"trailer"):
        yield Case(
            f"{name.decode()} stops here",
            "RFC 9110 §7.6.1, RFC 9113 §3.1",
            (headers(1, [*GET, (name, b"x")]),),
            seen=(ROOT,),
            fields=((name, []),),
        )
    for name in (b"x_real_ip", b"x-real-ip", b"forwarded", b"client-ip", b"proxy"):
        yield Case(
            f"{name.decode()} is not believed",
            "practice: what is not trusted is overwritten",
            (headers(1, [*GET, (name, b"6.6.6.6")]),),
            seen=(ROOT,),
            fields=((name, [b"127.0.0.1"] if name == b"x-real-ip" else []),),
        )


def authorities() -> Iterator[Case]:
    bare = without(b":authority")
    for name, fields, host in (
        ("an authority becomes Host", GET, b"a.test"),
        ("an authority with a port", head(host=b"a.test:8080"), b"a.test:8080"),
        ("an authority of numbers", head(host=b"[::1]:80"), b"[::1]:80"),
        ("Host without an authority", [*bare, (b"host", b"b.test")], b"b.test"),
        ("Host equal to the authority", [*GET, (b"host", b"a.test")], b"a.test"),
    ):
        yield Case(
            name,
            "RFC 9113 §8.3.1",
            (headers(1, fields),),
            seen=(ROOT,),
            fields=((b"host", [host]),),
        )
    yield from refused(
        (("another Host than the authority", [*GET, (b"host", b"b.test")]),),
        "RFC 9113 §8.3.1",
        BAD_REQUEST,
    )
    yield from refused(
        (
            ("an empty Host beside the authority", [*GET, (b"host", b"")]),
            ("two Hosts", [*bare, (b"host", b"a.test"), (b"host", b"b.test")]),
            ("two equal Hosts", [*bare, (b"host", b"a.test"), (b"host", b"a.test")]),
            ("two Hosts beside the authority", [*GET, (b"host", b"a.test"), (b"host", b"b.test")]),
            ("neither Host nor authority", bare),
        ),
        "RFC 9113 §8.3.1",
    )
    yield from refused(
        tuple(
            (f"the authority {shown(host)}", head(host=host))
            for host in (
                b"", b"a.test/b", b"u@a.test", b"a.test b.test", b"a.test\r\nx: y", b"a.test\0",
                b"a.test?", b"a.test#", b"a.test\\b", b"a.test<",
            )
        ),
        "RFC 9113 §8.3.1, RFC 9110 §4.2.4",
    )  # fmt: skip


def targets() -> Iterator[Case]:
    for path in (
        b"/a?b=c", b"/a%2Fb%00", b"//b.test/", b"/../a", b"/a|b{c}", b"/a?", b"/a?b=http://c.test/",
        b"/;a=b", b"/" + b"a" * 4000,
    ):  # fmt: skip
        yield Case(
            f"the path {shown(path)[:30]} passes",
            "RFC 9113 §8.3.1; RFC 9110 §7.7",
            (headers(1, head(path=path)),),
            seen=(Seen(b"GET", path),),
        )
    yield from refused(
        tuple(
            (f"the path {shown(path)}", head(path=path))
            for path in (
                b"*", b"a", b"http://b.test/", b"/a b", b"/ HTTP/1.1\r\nx: y", b"/\n", b"/\r",
                b"/\0", b"/\x7f", b" /", b"/ ", b"?a", b"a.test:80",
            )
        ),
        "RFC 9113 §8.3.1, §10.3",
        MALFORMED,
    )  # fmt: skip
    yield from refused(
        (("the path /a#b", head(path=b"/a#b")),),
        "RFC 9113 §8.3.1",
        BAD_REQUEST,
    )
    for scheme in (b"ftp", b"", b"http\r\nx: y", b"http://a.test/b?"):
        yield Case(
            f"the scheme {shown(scheme)}",
            "RFC 9113 §8.3.1, §10.3",
            (headers(1, head(scheme=scheme)),),
            BAD_REQUEST if scheme in (b"ftp",) else MALFORMED,
        )
    yield Case(
        "the scheme of a proxy in front that had TLS",
        "RFC 9113 §8.3.1",
        (headers(1, head(scheme=b"https")),),
        seen=(ROOT,),
    )


def methods() -> Iterator[Case]:
    for method in (b"PUT", b"DELETE", b"PATCH", b"PURGE", b"M-SEARCH", b"get"):
        yield Case(
            f"{method.decode()} passes",
            "RFC 9110 §9.1, §16.1",
            (headers(1, head(method)),),
            seen=(Seen(method, b"/"),),
        )
    yield Case(
        "OPTIONS * passes",
        "RFC 9113 §8.3.1",
        (headers(1, head(b"OPTIONS", b"*")),),
        seen=(Seen(b"OPTIONS", b"*"),),
    )
    yield Case(
        "HEAD is answered without a body",
        "RFC 9110 §9.3.2",
        (headers(1, head(b"HEAD")),),
        seen=(Seen(b"HEAD", b"/"),),
        check=lambda wire: wire.of(1).body == b"" and wire.of(1).values(LENGTH) == [b"2"],
    )
    yield from refused(
        tuple(
            (f"the method {shown(method)}", head(method))
            for method in (
                b"GET /admin HTTP/1.1\r\nx:", b"G T", b"GET\0", b"GET\r", b" GET", b"G\xe9T", b"(",
            )
        ),
        "RFC 9113 §8.3.1, §10.3",
    )  # fmt: skip
    connect = [(b":method", b"CONNECT"), (b":authority", b"a.test:80")]
    not_served = ("405", "400", "501", "RST_STREAM CONNECT_ERROR", "RST_STREAM REFUSED_STREAM",
                  *MALFORMED)  # fmt: skip
    yield Case("CONNECT", "RFC 9113 §8.5", (headers(1, connect, END_HEADERS),), not_served)
    yield from refused(
        (
            ("CONNECT with a path", [*connect, (b":path", b"/")]),
            ("CONNECT with a scheme", [*connect, (b":scheme", b"http")]),
            ("CONNECT without an authority", connect[:1]),
        ),
        "RFC 9113 §8.5",
        MALFORMED,
    )


def extended_connects() -> Iterator[Case]:
    """Where they are not offered they are malformed, as any other pseudo-field."""
    source = "RFC 8441 §4"
    pseudo = [*head(b"CONNECT", b"/late"), (b":protocol", b"websocket")]
    version = (b"sec-websocket-version", b"13")
    for name, fields, first in (
        ("another protocol", [*pseudo[:4], (b":protocol", b"connect-udp")], "501"),
        ("no path", [*without(b":path", pseudo), version], "RST_STREAM PROTOCOL_ERROR"),
        ("no scheme", [*without(b":scheme", pseudo), version], "RST_STREAM PROTOCOL_ERROR"),
        ("no authority", [*without(b":authority", pseudo), version], "RST_STREAM PROTOCOL_ERROR"),
        ("an empty protocol", [*pseudo[:4], (b":protocol", b"")], "RST_STREAM PROTOCOL_ERROR"),
        ("an end of line in its protocol", [*pseudo[:4], (b":protocol", b"websocket\r\nx: y")],
         "RST_STREAM PROTOCOL_ERROR"),
        ("a protocol twice", [*pseudo, pseudo[4], version], "RST_STREAM PROTOCOL_ERROR"),
        ("Connection and Upgrade", [*pseudo, version, (b"upgrade", b"websocket")],
         "RST_STREAM PROTOCOL_ERROR"),
    ):  # fmt: skip
        yield Case(
            f"an extended CONNECT with {name}",
            source,
            (headers(1, fields, END_HEADERS),),
            (first, *MALFORMED, "405", "501"),
        )
    yield Case(
        "an extended CONNECT to which the backend answers 200",
        "RFC 8441 §5: that would open the WebSocket",
        (headers(1, [*pseudo, version], END_HEADERS),),
        ("502", *MALFORMED, "405", "501", "RST_STREAM INTERNAL_ERROR"),
        last=True,
    )


def cookies() -> Iterator[Case]:
    source = "RFC 9113 §8.2.3"
    for name, crumbs, whole in (
        ("crumbs of a cookie are joined", (b"a=1", b"b=2", b"c=3"), b"a=1; b=2; c=3"),
        ("one cookie stays as it is", (b"a=1; b=2",), b"a=1; b=2"),
        ("300 crumbs are one field", (b"a=1",) * 300, b"; ".join([b"a=1"] * 300)),
    ):
        yield Case(
            name,
            source,
            (headers(1, [*GET, (b"x-a", b"1"), *((b"cookie", crumb) for crumb in crumbs)]),),
            seen=(ROOT,),
            fields=((b"cookie", [whole]),),
        )
    yield Case(
        "crumbs with others between",
        source,
        (headers(1, [*GET, (b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2")]),),
        seen=(ROOT,),
        fields=((b"cookie", [b"a=1; b=2"]), (b"x-a", [b"1"])),
    )


def bodies() -> Iterator[Case]:
    source = "RFC 9113 §8.1.1"
    three = (LENGTH, b"3")
    yield Case("a length that is right", source, (post(1, b"abc", three),), seen=(ABC,),
               fields=((LENGTH, [b"3"]),))  # fmt: skip
    yield Case("a body without a length", source, (post(1, b"abc"),), seen=(ABC,))
    yield Case(
        "an empty body without a length", source, (post(1, b""),), seen=(Seen(b"POST", b"/"),)
    )
    yield Case(
        "a length of 0",
        source,
        (headers(1, [*POST, (LENGTH, b"0")]),),
        seen=(Seen(b"POST", b"/"),),
    )
    yield Case(
        "a body in many frames",
        "RFC 9113 §8.1",
        (headers(1, POST, END_HEADERS), *(data(1, b"x", 0) for _ in range(50)), data(1)),
        seen=(Seen(b"POST", b"/", b"x" * 50),),
    )
    yield Case(
        "a GET with a body that looks like a request",
        "RFC 9110 §9.3.1",
        (headers(1, GET, END_HEADERS) + data(1, HIDDEN),),
        seen=(Seen(b"GET", b"/", HIDDEN),),
    )
    yield Case(
        "a body that looks like chunks",
        "RFC 9113 §8.1",
        (post(1, b"0\r\n\r\n" + HIDDEN),),
        seen=(Seen(b"POST", b"/", b"0\r\n\r\n" + HIDDEN),),
    )
    length_0 = [*head(b"POST", b"/late"), (LENGTH, b"0")]  # is whole before its body
    for name, sent in (
        ("a body shorter than its length", post(1, b"ab", three)),
        ("a body longer than its length", post(1, b"abcd", three)),
        ("a body longer by a frame", headers(1, length_0, END_HEADERS) + data(1, b"abc")),
        ("no body for a length", headers(1, [*POST, three])),
        ("a request behind a length of 0", headers(1, length_0, END_HEADERS) + data(1, HIDDEN)),
        (
            "a body longer than its length, in a later frame",
            headers(1, [*POST, three], END_HEADERS) + data(1, b"abc", 0) + data(1, b"d"),
        ),
    ):
        yield Case(name, source, (sent,), MALFORMED)
    for value in (b"3, 3", b"+3", b"-3", b"3x", b"0x3", b"", b" 3", b"3_", b"99999999999999999999"):
        yield Case(
            f"content-length: {shown(value)}",
            "RFC 9113 §8.1.1; RFC 9110 §8.6",
            (post(1, b"abc", (LENGTH, value)),),
            (*MALFORMED, "413"),
        )
    for name, more in (
        ("two equal lengths", (three, three)),
        ("two different lengths", (three, (LENGTH, b"4"))),
    ):
        yield Case(name, source, (post(1, b"abc", *more),), MALFORMED)
    for name in (b"content_length", b"transfer_encoding"):
        yield Case(
            f"{name.decode()}, a length in disguise",
            "practice: CGI reads both alike (RFC 3875 §4.1.18)",
            (headers(1, [*GET, (name, b"chunked")]),),
            (*BAD_REQUEST, "501"),
        )
    yield Case(
        "an upload that is reset is no request",
        "RFC 9113 §8.1",
        (headers(1, POST, END_HEADERS) + data(1, b"abc", 0), Until(), _RESET),
        ("ignored",),
    )


_RESET = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08"


def expectations() -> Iterator[Case]:
    expect = [*POST, (b"expect", b"100-continue")]
    yield Case(
        "100 Continue",
        "RFC 9110 §10.1.1",
        (headers(1, expect, END_HEADERS), Until(), data(1, b"abc")),
        seen=(ABC,),
    )
    yield Case(
        "an expectation that nobody meets",
        "RFC 9110 §10.1.1",
        (headers(1, [*GET, (b"expect", b"a-miracle")]),),
        ("417", "400"),
    )


def trailers() -> Iterator[Case]:
    source = "RFC 9113 §8.1"
    sent = headers(1, POST, END_HEADERS) + data(1, b"abc", 0)
    yield Case("trailers end a body", source, (sent + headers(1, [(b"x-sum", b"1")]),), seen=(ABC,))
    yield Case(
        "trailers are no fields of the head",
        "RFC 9110 §6.5.1",
        (sent + headers(1, [(b"x-real-ip", b"6.6.6.6"), (b"authorization", b"x")]),),
        seen=(ABC,),
        fields=((b"authorization", []),),
    )
    for name, fields in (
        ("a pseudo-field", [(b":path", b"/b")]),
        ("a status", [(b":status", b"200")]),
        ("upper case", [(b"X-Sum", b"1")]),
        ("an end of line", [(b"x-sum", b"1\r\nx: y")]),
        ("connection", [(b"connection", b"close")]),
        ("a coding", [(b"transfer-encoding", b"chunked")]),
    ):
        yield Case(f"trailers with {name}", source, (sent + headers(1, fields),), MALFORMED)
    yield Case(
        "trailers that do not end the stream",
        source,
        (sent + headers(1, [(b"x-sum", b"1")], END_HEADERS),),
        MALFORMED,
    )
    yield Case(
        "a body shorter than its length, and trailers",
        "RFC 9113 §8.1.1",
        (
            headers(1, [*POST, (LENGTH, b"9")], END_HEADERS)
            + data(1, b"abc", 0)
            + headers(1, [(b"x-sum", b"1")]),
        ),
        MALFORMED,
    )
    yield Case(
        "DATA behind trailers",
        "RFC 9113 §5.1",
        (
            headers(1, head(b"POST", b"/late"), END_HEADERS)
            + headers(1, [(b"x-sum", b"1")])
            + data(1, b"x"),
        ),
        ("GOAWAY STREAM_CLOSED", *stream_error("STREAM_CLOSED", "PROTOCOL_ERROR")),
    )


def limits() -> Iterator[Case]:
    """Each server has its own; none must fall over."""
    source = "RFC 9113 §10.5.1"
    too_large = ("431", "400", "200", *stream_error(
        "PROTOCOL_ERROR", "ENHANCE_YOUR_CALM", "CANCEL", "INTERNAL_ERROR", "COMPRESSION_ERROR",
    ))  # fmt: skip
    yield Case(
        "a long path",
        "RFC 9110 §15.5.15",
        (large_head(1, head(path=b"/" + b"a" * 17000)),),
        ("414", *too_large),
        seen=None,
    )
    yield Case(
        "more fields than are allowed",
        source,
        (headers(1, [*GET, *((b"x-%d" % n, b"") for n in range(201))]),),
        too_large,
        seen=None,
    )
    yield Case(
        "larger fields than are allowed",
        source,
        (large_head(1, [*GET, *((b"x-%d" % n, b"a" * 9000) for n in range(8))]),),
        too_large,
        seen=None,
    )
    yield Case(
        "a head of 30,000 octets",
        source,
        (large_head(1, [*GET, *((b"x-%d" % n, b"a" * 3000) for n in range(10))]),),
        (*SERVED, *too_large),
        seen=None,
    )


REQUESTS = (
    pseudo_fields, field_syntax, connection_fields, authorities, targets, methods,
    extended_connects, cookies, bodies,
    expectations, trailers, limits,
)  # fmt: skip
