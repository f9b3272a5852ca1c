"""What clients send: legal, illegal, and what only looks legal. Each row names its source."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, Seen

HOST = b"Host: a.test\r\n"
CLOSE = b"Connection: close\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
ROOT = Seen(b"GET", b"/")
REFUSED = (400,)
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


def get(fields: bytes = b"", target: bytes = b"/", host: bytes = HOST) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b%b\r\n" % (target, host, fields, CLOSE)


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n%b%b%b\r\n%b" % (HOST, fields, CLOSE, body)


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


def shown(value: bytes) -> str:
    """A value as a test's name."""
    text = value if len(value) <= 40 else value[:37] + b"..."
    return repr(text)[2:-1] or "nothing"


def request_lines() -> Iterator[Case]:
    source = "RFC 9112 §3"
    for line in (
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b"GET /",
        b"GET",
        b"GET HTTP/1.1",
        b"GET / a HTTP/1.1",
        b"/ HTTP/1.1",
        b" / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1",
        b"GET / HTTP/1.",
        b"GET / HTTP/.1",
        b"GET / HTTP/1.1x",
        b"GET / HTTP/1,1",
        b"GET / HTTP/a.b",
        b"GET / HTP/1.1",
        b"GET / ICY/1.1",
        b"GET / HTTP/-1.1",
        b"GET / HTTP /1.1",
    ):
        yield Case(f"request line {shown(line)}", source, line + b"\r\n" + HOST + b"\r\n", REFUSED)
    for version in (b"0.0", b"0.9", b"2.0", b"3.0", b"9.9"):
        yield Case(
            f"version {version.decode()}",
            "RFC 9110 §15.6.6",
            b"GET / HTTP/%b\r\n%b\r\n" % (version, HOST),
            (505, 400),
        )
    yield Case(
        "the preface of HTTP/2",
        "RFC 9113 §3.4",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        (505, 400),
    )
    yield Case("a TLS hello on the plain port", "practice", b"\x16\x03\x01\x02\x00\x01", REFUSED)
    yield Case("one empty line before the request", "RFC 9112 §2.2", b"\r\n" + GET, seen=(ROOT,))
    yield Case(
        "a bare LF after the request line",
        "RFC 9112 §2.2",
        b"GET / HTTP/1.1\nHost: a.test\r\n\r\n",
        REFUSED,
    )
    yield Case(
        "only bare LFs",
        "RFC 9112 §2.2",
        b"GET / HTTP/1.1\nHost: a.test\nConnection: close\n\n",
        REFUSED,
    )
    yield Case(
        "a bare CR in the request line",
        "RFC 9112 §2.2",
        b"GET /\r HTTP/1.1\r\nHost: a.test\r\n\r\n",
        REFUSED,
    )
    yield Case(
        "white space before the first field",
        "RFC 9112 §2.2",
        b"GET / HTTP/1.1\r\n X: 1\r\nHost: a.test\r\n\r\n",
        REFUSED,
    )


def methods() -> Iterator[Case]:
    for method in (
        b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND",
        b"PURGE", b"QUERY", b"LINK", b"FOO", b"get", b"Get", b"M-SEARCH", b"A" * 64,
    ):  # fmt: skip
        yield Case(
            f"method {shown(method)}",
            "RFC 9110 §9.1: a proxy forwards methods that it does not know",
            b"%b / HTTP/1.1\r\n%b%b\r\n" % (method, HOST, CLOSE),
            seen=(Seen(method, b"/"),),
        )
    for octet in b"!#$%&'*+-.^_`|~09":
        method = b"A%cB" % octet
        yield Case(
            f"method {shown(method)}",
            "RFC 9110 §5.6.2",
            b"%b / HTTP/1.1\r\n%b%b\r\n" % (method, HOST, CLOSE),
            seen=(Seen(method, b"/"),),
        )
    for octet in b'"(),/:;<=>?@[\\]{}\x00\x01\x0b\x7f\x80\xff':
        yield Case(
            f"method {shown(b'A%cB' % octet)}",
            "RFC 9110 §5.6.2",
            b"A%cB / HTTP/1.1\r\n%b\r\n" % (octet, HOST),
            REFUSED,
        )
    yield Case(
        "HEAD is answered without a body",
        "RFC 9110 §9.3.2",
        b"HEAD / HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE),
        seen=(Seen(b"HEAD", b"/"),),
        check=lambda got: got.endswith(b"\r\n\r\n"),
    )
    yield Case(
        "CONNECT",
        "RFC 9110 §9.3.6",
        b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n",
        (405, 400, 501),
    )
    yield Case(
        "CONNECT with a path",
        "RFC 9110 §9.3.6",
        b"CONNECT / HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE),
        (405, 400, 501),
    )


def targets() -> Iterator[Case]:
    byte_for_byte = "RFC 9110 §7.7; RFC 3986 §2.4"
    for target in (
        b"/a%2Fb", b"//", b"//a//b", b"/a;b=1", b"/?", b"/a?", b"/??", b"/?a?b", b"/%ff", b"/%00",
        b"/%0d%0aX:%201", b"/..", b"/../a", b"/./a", b"/a/../b", b"/%2e%2e/a", b"/%zz", b"/%",
        b"/a+b", b"/~a", b"/a:b@c", b"/a,b", b"/a=b", b"/'", b"/!$&()*", b"/?q=%20&z", b"/?a=b&a",
        b"/" + b"a" * 4000, b"/http://b.test/",
    ):  # fmt: skip
        yield Case(
            f"target {shown(target)}",
            byte_for_byte,
            get(target=target),
            seen=(Seen(b"GET", target),),
        )
    for target in (b"/<a>", b'/"a"', b"/{a}", b"/a|b", b"/a^b", b"/a`b", b"/a\\b", b"/[a]"):
        yield Case(
            f"target {shown(target)}",
            "practice: browsers send some of these, and they are one octet to everybody",
            get(target=target),
            seen=(Seen(b"GET", target),),
        )
    for octet in b"\x00\x01\x08\x0b\x0c\x1f\x7f\x80\xc3\xff#":
        yield Case(
            f"target {shown(b'/a%cb' % octet)}",
            "RFC 9112 §3.2; RFC 3986 §3.3",
            get(target=b"/a%cb" % octet),
            REFUSED,
        )
    for target in (b"a", b"*", b"*/", b"?a", b"a.test", b"a.test:80", b"../a", b"\\a", b"%2Fa"):
        yield Case(f"target {shown(target)}", "RFC 9112 §3.2", get(target=target), REFUSED)
    yield Case(
        "OPTIONS *",
        "RFC 9112 §3.2.4",
        b"OPTIONS * HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE),
        seen=(Seen(b"OPTIONS", b"*"),),
    )


def absolute_forms() -> Iterator[Case]:
    source = "RFC 9112 §3.2.2"
    for target, reduced in (
        (b"http://a.test/p", b"/p"),
        (b"http://a.test/p?q", b"/p?q"),
        (b"http://a.test/", b"/"),
        (b"http://a.test", b"/"),
        (b"http://a.test?q", b"/?q"),
        (b"HTTP://a.test/p", b"/p"),
        (b"http://A.TEST/p", b"/p"),
        (b"http://a.test:80/p", b"/p"),
        (b"http://a.test/p%2Fq//", b"/p%2Fq//"),
    ):
        yield Case(
            f"target {shown(target)}",
            source,
            get(target=target),
            seen=(Seen(b"GET", reduced),),
        )
    yield Case(
        "the target's authority becomes Host",
        source,
        get(target=b"http://A.test:80/"),
        seen=(ROOT,),
        fields=((b"host", [b"A.test:80"]),),
    )
    yield Case(
        "an absolute-form of HTTP/1.0 without Host",
        source,
        b"GET http://a.test/p HTTP/1.0\r\n\r\n",
        seen=(Seen(b"GET", b"/p"),),
        fields=((b"host", [b"a.test"]),),
    )
    yield Case(
        "OPTIONS with an absolute-form without path",
        "RFC 9112 §3.2.4",
        b"OPTIONS http://a.test HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE),
        seen=(Seen(b"OPTIONS", b"*"),),
    )
    for target in (
        b"http://b.test/", b"http://a.test:81/", b"http://a.test.b.test/", b"http:///p", b"http://",
        b"http:/a.test/", b"http:a.test", b"://a.test/", b"ftp://a.test/", b"ws://a.test/",
        b"file:///etc/passwd", b"http://u@a.test/", b"http://u:p@a.test/", b"http://a.test\\@b/",
        b"http://a.test#f", b"http://a.test b/", b"https://a.test/", b"//a.test:x@/\x00",
    ):  # fmt: skip
        yield Case(f"target {shown(target)}", f"{source}, §3.2", get(target=target), (400, 421))
    yield Case(
        "an absolute-form without Host", source, get(target=b"http://a.test/", host=b""), REFUSED
    )


def hosts() -> Iterator[Case]:
    source = "RFC 9112 §3.2"
    for name, lines in (
        ("no Host", b""),
        ("two equal Hosts", HOST + HOST),
        ("two different Hosts", HOST + b"Host: b.test\r\n"),
        ("two Hosts apart", HOST + b"X: 1\r\nhOST: b.test\r\n"),
        ("Host with a space", b"Host: a .test\r\n"),
        ("Host with a tab", b"Host: a\t.test\r\n"),
        ("Host with a path", b"Host: a.test/b\r\n"),
        ("Host with a user", b"Host: u@a.test\r\n"),
        ("Host with a query", b"Host: a.test?b\r\n"),
        ("Host with a fragment", b"Host: a.test#b\r\n"),
        ("Host with a backslash", b"Host: a.test\\b\r\n"),
        ("Host with a quote", b'Host: "a.test"\r\n'),
        ("Host with NUL", b"Host: a.test\0\r\n"),
        ("Host with obs-text", b"Host: \xe4.test\r\n"),
        ("Host as a list", b"Host: a.test, b.test\r\n"),
        ("Host with a scheme", b"Host: http://a.test\r\n"),
        ("Host folded", b"Host:\r\n a.test\r\n"),
        ("space before Host's colon", b"Host : a.test\r\n"),
    ):
        yield Case(name, source, get(host=lines), REFUSED)
    for value in (
        b"a.test",
        b"A.TEST",
        b"a.test:80",
        b"a.test.",
        b"127.0.0.1",
        b"[::1]",
        b"[::1]:80",
    ):
        yield Case(
            f"Host {shown(value)}",
            source,
            get(host=b"Host: %b\r\n" % value),
            seen=(ROOT,),
            fields=((b"host", [value]),),
        )
    yield Case(
        "white space around Host",
        "RFC 9112 §5",
        get(host=b"HOST:\t a.test \t\r\n"),
        seen=(ROOT,),
        fields=((b"host", [b"a.test"]),),
    )


def field_syntax() -> Iterator[Case]:
    for octet in b'"(),/;<=>?@[\\]{} \t\x00\x01\x0b\x0c\x1f\x7f\x80\xff':
        yield Case(
            f"field name {shown(b'X%cY' % octet)}",
            "RFC 9112 §5.1, RFC 9110 §5.6.2",
            get(b"X%cY: 1\r\n" % octet),
            REFUSED,
        )
    for octet in b"\x00\x01\x08\x0b\x0c\x0e\x1f\x7f\r\n":
        yield Case(
            f"field value {shown(b'a%cb' % octet)}",
            "RFC 9110 §5.5",
            get(b"X: a%cb\r\n" % octet),
            REFUSED,
        )
    for name, lines in (
        ("a field without a colon", b"X\r\n"),
        ("a field without a name", b": 1\r\n"),
        ("white space before the colon", b"X : 1\r\n"),
        ("a tab before the colon", b"X\t: 1\r\n"),
        ("a folded value", b"X: 1\r\n 2\r\n"),
        ("a value folded with a tab", b"X: 1\r\n\t2\r\n"),
        ("a fold without a value", b"X: 1\r\n \r\n"),
        ("a line end of CR CR LF", b"X: 1\r\r\n"),
        ("a line end of LF CR", b"X: 1\n\r\n"),
        ("a bare LF line end", b"X: 1\nY: 2\r\n"),
        ("a bare CR line end", b"X: 1\rY: 2\r\n"),
        ("a field that is a request line", b"GET /hidden HTTP/1.1\r\n"),
    ):
        yield Case(name, "RFC 9112 §2.2, §5.1, §5.2", get(lines), REFUSED)
    for name, lines, values in (
        ("obs-text passes as it is", b"X: \xe4\xff\r\n", [b"\xe4\xff"]),
        ("an empty value", b"X:\r\n", [b""]),
        ("a value of white space", b"X: \t \r\n", [b""]),
        ("no white space before the value", b"X:1\r\n", [b"1"]),
        ("white space around the value", b"X: \t1 2\t \r\n", [b"1 2"]),
        ("tabs in the value", b"X: 1\t2\r\n", [b"1\t2"]),
        ("colons in the value", b"X: :1:\r\n", [b":1:"]),
        ("repeated fields stay apart, in order", b"X: 1\r\nY: 0\r\nx: 2\r\n", [b"1", b"2"]),
        ("a value of 8,000 octets", b"X: %b\r\n" % (b"v" * 8000), [b"v" * 8000]),
        ("150 fields", b"".join(b"y-%d: 1\r\n" % n for n in range(150)) + b"X: 1\r\n", [b"1"]),
    ):
        yield Case(name, "RFC 9110 §5.3, §5.5", get(lines), seen=(ROOT,), fields=((b"x", values),))
    yield Case(
        "every octet of a field name",
        "RFC 9110 §5.6.2",
        get(b"!#$%&'*+-.^_`|~09aZ: 1\r\n"),
        seen=(ROOT,),
        fields=((b"!#$%&'*+-.^_`|~09az", [b"1"]),),
    )


def limits() -> Iterator[Case]:
    yield Case(
        "a request line of 20 KB", "RFC 9112 §3", get(target=b"/" + b"a" * 20_000), (414, 400)
    )
    yield Case(
        "a head of 100 KB", "RFC 6585 §5", get(b"X: %b\r\n" % (b"a" * 8_000) * 13), (431, 400)
    )
    yield Case(
        "1,000 fields",
        "RFC 6585 §5",
        get(b"".join(b"x-%d: 1\r\n" % n for n in range(1000))),
        (431, 400),
    )


def expectations() -> Iterator[Case]:
    source = "RFC 9110 §10.1.1"
    body = Seen(b"POST", b"/", b"abc")
    length = b"Content-Length: 3\r\n"
    for value in (b"100-continue", b"100-Continue"):
        yield Case(
            f"Expect: {value.decode()}",
            source,
            post(length + b"Expect: %b\r\n" % value, b"abc"),
            seen=(body,),
        )
    for value in (b"200-ok", b"100-continue, x", b"x"):
        yield Case(
            f"Expect: {value.decode()}",
            source,
            post(length + b"Expect: %b\r\n" % value, b"abc"),
            (417, 400),
        )
    yield Case(
        "an expectation of HTTP/1.0 is ignored",
        source,
        b"POST / HTTP/1.0\r\n%bContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc" % HOST,
        seen=(body,),
        check=lambda got: b" 100 " not in got,
    )
    yield Case(
        "an expectation without a body", source, get(b"Expect: 100-continue\r\n"), seen=(ROOT,)
    )


def persistence() -> Iterator[Case]:
    source = "RFC 9112 §9.3"
    request = b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n"
    first = Seen(b"GET", b"/1")
    yield Case("HTTP/1.1 goes on", source, request + GET, seen=(first, ROOT))
    yield Case("five in a row", source, request * 4 + GET, seen=(first,) * 4 + (ROOT,))
    yield Case(
        "HTTP/1.0 ends",
        source,
        b"GET /1 HTTP/1.0\r\n%b\r\n%b" % (HOST, HIDDEN),
        seen=(first,),
    )
    yield Case(
        "HTTP/1.0 goes on if asked",
        source,
        b"GET /1 HTTP/1.0\r\n%bConnection: Keep-Alive\r\n\r\n%b" % (HOST, GET),
        seen=(first, ROOT),
        check=lambda got: b"\r\nconnection: keep-alive\r\n" in got.lower(),
    )
    yield Case(
        "an answer to HTTP/1.0 is not chunked",
        "RFC 9112 §6.1",
        b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
        seen=(ROOT,),
        check=lambda got: b"chunked" not in got.lower(),
    )
    for value in (b"close", b"Close", b"x, close", b"keep-alive, close", b"close,", b" ,close"):
        yield Case(
            f"Connection: {shown(value)} ends",
            "RFC 9110 §7.6.1, RFC 9112 §9.6",
            b"GET /1 HTTP/1.1\r\n%bConnection: %b\r\n\r\n%b" % (HOST, value, HIDDEN),
            seen=(first,),
        )
    yield Case(
        "close in a second Connection field",
        "RFC 9110 §5.3",
        b"GET /1 HTTP/1.1\r\n%bConnection: x\r\nConnection: close\r\n\r\n%b" % (HOST, HIDDEN),
        seen=(first,),
    )
    yield Case(
        "an empty line after a body",
        "RFC 9112 §2.2",
        b"POST / HTTP/1.1\r\n%bContent-Length: 3\r\n\r\nabc\r\n%b" % (HOST, GET),
        seen=(Seen(b"POST", b"/", b"abc"), ROOT),
    )


REQUESTS = (
    request_lines, methods, targets, absolute_forms, hosts, field_syntax, limits, expectations,
    persistence,
)  # fmt: skip


def request_cases() -> list[Case]:
    return [case for group in REQUESTS for case in group()]
