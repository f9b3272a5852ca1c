"""Where a request ends: every way in which two parsers could disagree about it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, Seen
from tests.conformance.requests import GET, HIDDEN, HOST, REFUSED, ROOT, chunked, post, shown

ABC = Seen(b"POST", b"/", b"abc")
LAST = b"0\r\n\r\n"


def lengths() -> Iterator[Case]:
    source = "RFC 9112 §6.2, §6.3; RFC 9110 §8.6"
    for value in (
        b"+3", b"-3", b"0x3", b"3_0", b"3 3", b"3, 3", b"3,4", b"", b"3;", b"3.0", b"1e1", b"3a",
        b"a3", b"\xd9\xa3", b"\"3\"", b"18446744073709551619", b"99999999999999999999999", b"3\x0b",
        b"3\x00", b"0003_", b"\xb3", b"NaN",
    ):  # fmt: skip
        yield Case(
            f"Content-Length: {shown(value)}",
            source,
            post(b"Content-Length: %b\r\n" % value, b"abc"),
            REFUSED,
        )
    for name, lines in (
        ("two equal lengths", b"Content-Length: 3\r\nContent-Length: 3\r\n"),
        ("two different lengths", b"Content-Length: 3\r\nContent-Length: 4\r\n"),
        ("two lengths apart", b"Content-Length: 3\r\nX: 1\r\ncONTENT-LENGTH: 0\r\n"),
        ("a length behind a space", b"Content-Length : 3\r\n"),
        ("a folded length", b"Content-Length:\r\n 3\r\n"),
        ("a length spelt with underscore", b"Content_Length: 3\r\n"),
    ):
        yield Case(name, source, post(lines, b"abc"), REFUSED)
    for value in (b"3", b"003", b" 3\t"):
        yield Case(
            f"Content-Length: {shown(value)}",
            source,
            post(b"Content-Length: %b\r\n" % value, b"abc"),
            seen=(ABC,),
            fields=((b"content-length", [b"3"]),),
        )
    yield Case(
        "Content-Length: 0", source, post(b"Content-Length: 0\r\n"), seen=(Seen(b"POST", b"/"),)
    )
    yield Case(
        "a POST without a length has no body", source, post(b""), seen=(Seen(b"POST", b"/"),)
    )
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"FOO"):
        yield Case(
            f"a {method.decode()} with a body that looks like a request",
            "RFC 9110 §9.3.1",
            b"%b /1 HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b%b"
            % (method, HOST, len(HIDDEN), HIDDEN, GET),
            seen=(Seen(method, b"/1", HIDDEN), ROOT),
        )


def codings() -> Iterator[Case]:
    source = "RFC 9112 §6.1, §6.3"
    body = b"3\r\nabc\r\n" + LAST
    for value in (
        b"xchunked", b"chunkedx", b"chunk", b"identity", b"gzip", b"", b"chunked, identity",
        b"chunked, chunked", b"identity, chunked", b"gzip, chunked", b"chunked;a=b", b"\"chunked\"",
        b"'chunked'", b"\x0bchunked", b"chunked\x00", b"chunked,", b",chunked", b"chunked chunked",
        b"cow", b"chunked\xa0", b"deflate, gzip, chunked",
    ):  # fmt: skip
        yield Case(
            f"Transfer-Encoding: {shown(value)}",
            source,
            post(b"Transfer-Encoding: %b\r\n" % value, body),
            (400, 501),
        )
    te, cl = b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n"
    for name, lines in (
        ("coding and length", te + cl),
        ("length and coding", cl + te),
        ("coding and length 0", te + b"Content-Length: 0\r\n"),
        ("two codings", te + te),
        ("two codings, one unknown", te + b"Transfer-Encoding: cow\r\n"),
        ("two codings, the unknown first", b"Transfer-Encoding: cow\r\n" + te),
        ("a coding behind a space", b"Transfer-Encoding : chunked\r\n"),
        ("a folded coding", b"Transfer-Encoding:\r\n chunked\r\n"),
        ("a coding folded after a comma", b"Transfer-Encoding: chunked,\r\n cow\r\n"),
        ("a coding behind a fold", b"X: 1\r\n Transfer-Encoding: chunked\r\n"),
        ("a coding behind a bare LF", b"X: 1\nTransfer-Encoding: chunked\r\n"),
        ("a coding behind a bare CR", b"X: 1\rTransfer-Encoding: chunked\r\n"),
        ("a coding spelt with underscore", b"Transfer_Encoding: chunked\r\n"),
        ("a coding named with a space", b"Transfer Encoding: chunked\r\n"),
        ("a coding named with NUL", b"Transfer-Encoding\0: chunked\r\n"),
    ):
        yield Case(name, source, post(lines, body), (400, 501))
    yield Case(
        "a coding in HTTP/1.0",
        "RFC 9112 §6.1",
        b"POST / HTTP/1.0\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (HOST, body),
        (400, 501),
    )
    for value in (b"chunked", b"Chunked", b"CHUNKED", b" \tchunked\t "):
        yield Case(
            f"Transfer-Encoding: {shown(value)}",
            source,
            post(b"Transfer-Encoding: %b\r\n" % value, body),
            seen=(ABC,),
        )


def chunks() -> Iterator[Case]:
    source = "RFC 9112 §7.1"
    for name, body in (
        ("one chunk", b"3\r\nabc\r\n"),
        ("three chunks", b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n"),
        ("a size with leading zeros", b"00003\r\nabc\r\n"),
        ("an extension", b"3;a=b\r\nabc\r\n"),
        ("a quoted extension", b'3;a="b;c"\r\nabc\r\n'),
        ("an extension without a value", b"3;a\r\nabc\r\n"),
        ("white space before an extension", b"3 ;a=b\r\nabc\r\n"),
    ):
        yield Case(name, source, chunked(body + LAST), seen=(ABC,))
    for digits in (b"A", b"a"):
        yield Case(
            f"the size {digits.decode()}",
            source,
            chunked(digits + b"\r\n0123456789\r\n" + LAST),
            seen=(Seen(b"POST", b"/", b"0123456789"),),
        )
    yield Case("no chunk", source, chunked(LAST), seen=(Seen(b"POST", b"/"),))
    yield Case(
        "a last chunk of zeros", source, chunked(b"000\r\n\r\n"), seen=(Seen(b"POST", b"/"),)
    )
    for size in (
        b"", b" 3", b"3 ", b"3\t", b"\t3", b"+3", b"-3", b"0x3", b"g", b"3g", b"3.0", b"3,",
        b"3\x00", b"\x0b3", b"3;a\x00", b"3;a\x01", b"3;a\x7f", b"3;a\rb", b"3\r", b"3;\xff\n",
        b"3\nX", b"10000000000000003", b"fffffffffffffffff", b"3;" + b"a" * 5000, b"\xb3", b"3 3",
        b"3_0",
    ):  # fmt: skip
        yield Case(
            f"the size {shown(size)}", source, chunked(size + b"\r\nabc\r\n" + LAST), REFUSED
        )
    for name, body in (
        ("a chunk longer than its size", b"2\r\nabc\r\n"),
        ("a chunk shorter than its size", b"4\r\nabc\r\n0\r\n\r\n"),
        ("a chunk without its line end", b"3\r\nabc0\r\n\r\n"),
        ("a chunk that ends in LF", b"3\r\nabc\n0\r\n\r\n"),
        ("a chunk that ends in CR", b"3\r\nabc\r0\r\n\r\n"),
        ("a chunk that ends in CR CR LF", b"3\r\nabc\r\r\n0\r\n\r\n"),
        ("a size that ends in LF", b"3\nabc\r\n0\r\n\r\n"),
        ("a size that ends in CR", b"3\rabc\r\n0\r\n\r\n"),
    ):
        yield Case(name, source, chunked(body), REFUSED)
    yield Case(
        "many long extensions",
        "practice: CVE-2023-39326 and others",
        chunked((b"1;%b\r\na\r\n" % (b"x" * 2000)) * 10 + LAST),
        (400, 413),
    )


def trailers() -> Iterator[Case]:
    source = "RFC 9112 §7.1.2, RFC 9110 §6.5.1"
    begin = b"3\r\nabc\r\n0\r\n"
    for name, lines, field in (
        ("a trailer is not a field", b"X-Trailer: 1\r\n", b"x-trailer"),
        ("nor does it frame", b"Content-Length: 5\r\n", b"content-length"),
        ("nor does it authorise", b"Authorization: x\r\n", b"authorization"),
        ("nor does it say who the client is", b"X-Real-IP: 9.9.9.9\r\n", b"x-trailer"),
    ):
        yield Case(
            name, source, chunked(begin + lines + b"\r\n"), seen=(ABC,), fields=((field, []),)
        )
    yield Case(
        "nor does it route",
        source,
        chunked(begin + b"Host: b.test\r\n\r\n"),
        seen=(ABC,),
        fields=((b"host", [b"a.test"]),),
    )
    for name, lines in (
        ("a trailer without a colon", b"X\r\n"),
        ("a trailer without a name", b": 1\r\n"),
        ("a folded trailer", b"X: 1\r\n 2\r\n"),
        ("a space before a trailer's colon", b"X : 1\r\n"),
        ("NUL in a trailer", b"X: \0\r\n"),
        ("a bare LF in a trailer", b"X: 1\nY: 2\r\n"),
        ("a bare CR in a trailer", b"X: 1\rY: 2\r\n"),
        ("a request in a trailer", b"GET /hidden HTTP/1.1\r\n"),
    ):
        yield Case(name, source, chunked(begin + lines + b"\r\n"), REFUSED)
    yield Case(
        "trailers of 100 KB",
        "practice",
        chunked(begin + (b"X: %b\r\n" % (b"a" * 8000)) * 13 + b"\r\n"),
        (431, 400),
    )


def smuggling() -> Iterator[Case]:
    source = "RFC 9112 §11.2"
    yield Case(
        "what follows a length is the next request",
        source,
        b"POST / HTTP/1.1\r\n%bContent-Length: 3\r\n\r\nabc%b" % (HOST, GET),
        seen=(ABC, ROOT),
    )
    yield Case(
        "what follows the last chunk is the next request",
        source,
        b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n%b"
        % (HOST, GET),
        seen=(ABC, ROOT),
    )
    yield Case(
        "a request inside a chunk is a body",
        source,
        b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n%b"
        % (HOST, len(HIDDEN), HIDDEN, GET),
        seen=(Seen(b"POST", b"/", HIDDEN), ROOT),
    )
    yield Case(
        "a length that hides a request behind a coding",
        source,
        post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", LAST + b"G"),
        REFUSED,
    )
    yield Case(
        "a coding that hides a request behind a length",
        source,
        post(
            b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
        ),
        REFUSED,
    )
    for protocol in (b"foo", b"h2c", b"TLS/1.0", b"websocket, h2c"):
        yield Case(
            f"a body behind Upgrade: {protocol.decode()} is no request",
            "RFC 9110 §7.8",
            b"POST / HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n"
            b"%b%b" % (HOST, protocol, len(HIDDEN), HIDDEN, GET),
            seen=(Seen(b"POST", b"/", HIDDEN), ROOT),
        )
    for name, method, fields in (
        ("a POST", b"POST", b"Content-Length: 0\r\n"),
        ("a GET with a body", b"GET", b"Content-Length: %d\r\n" % len(HIDDEN)),
        ("a GET with a chunked body", b"GET", b"Transfer-Encoding: chunked\r\n"),
    ):
        yield Case(
            f"{name} is no WebSocket handshake",
            "RFC 6455 §4.1, §4.2.2",
            b"%b / HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: WebSocket\r\n%b\r\n%b"
            % (method, HOST, fields, HIDDEN),
            REFUSED,
        )
    yield Case(
        "a chunked body behind Upgrade is no request",
        "RFC 9110 §7.8",
        b"POST / HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: foo\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n%b"
        % (HOST, len(HIDDEN), HIDDEN, GET),
        seen=(Seen(b"POST", b"/", HIDDEN), ROOT),
    )
    yield Case(
        "a request behind CONNECT is not served",
        "RFC 9110 §9.3.6",
        b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n" + HIDDEN,
        (405, 400, 501),
    )
    yield Case(
        "a request behind a refused one is not served",
        "RFC 9112 §9.6",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n" + HIDDEN,
        REFUSED,
    )
    yield Case(
        "a request behind close is not served",
        "RFC 9112 §9.6",
        GET + HIDDEN,
        seen=(ROOT,),
    )


FRAMING = (lengths, codings, chunks, trailers, smuggling)


def framing_cases() -> list[Case]:
    return [case for group in FRAMING for case in group()]
