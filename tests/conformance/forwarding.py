"""What goes on to the backend, and what has to stop at a proxy."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, Seen
from tests.conformance.requests import CLOSE, HOST, chunked, get, post

ROOT = Seen(b"GET", b"/")


def hop_by_hop() -> Iterator[Case]:
    for lines, name in (
        (b"Keep-Alive: timeout=5\r\n", b"keep-alive"),
        (b"Proxy-Connection: keep-alive\r\n", b"proxy-connection"),
        (b"TE: trailers\r\n", b"te"),
        (b"Trailer: X\r\n", b"trailer"),
        (b"Upgrade: h2c\r\n", b"upgrade"),
        (b"Proxy-Authorization: Basic eDp5\r\n", b"proxy-authorization"),
        (b"HTTP2-Settings: AAA\r\n", b"http2-settings"),
        (b"X-Mine: 1\r\nConnection: X-Mine\r\n", b"x-mine"),
        (b"X-Mine: 1\r\nConnection: a, x-mine ,b\r\n", b"x-mine"),
        (b"X-Mine: 1\r\nConnection: a\r\nConnection: X-MINE\r\n", b"x-mine"),
    ):
        yield Case(
            f"{name.decode()} stops here ({lines.count(b',')} of {lines.count(b'Connection')})",
            "RFC 9110 §7.6.1",
            get(lines),
            seen=(ROOT,),
            fields=((name, []),),
        )
    yield Case(
        "a backend learns that trailers are taken",
        "RFC 9110 §10.1.4",
        get(b"TE: gzip, trailers\r\nConnection: TE\r\n"),
        seen=(ROOT,),
        fields=((b"te", [b"trailers"]),),
    )
    for name, value in (
        (b"Host", b"a.test"),
        (b"Authorization", b"Basic eDp5"),
        (b"Cookie", b"a=b"),
    ):
        lines = b"" if name == b"Host" else b"%b: %b\r\n" % (name, value)
        yield Case(
            f"Connection can not take {name.decode()} away",
            "practice: abuse of hop-by-hop fields (Davison 2019)",
            get(lines + b"Connection: %b\r\n" % name),
            seen=(ROOT,),
            fields=((name.lower(), [value]),),
        )
    yield Case(
        "Connection can not take the length away",
        "practice: abuse of hop-by-hop fields (Davison 2019)",
        post(b"Content-Length: 3\r\nConnection: Content-Length\r\n", b"abc"),
        seen=(Seen(b"POST", b"/", b"abc"),),
    )


def identity() -> Iterator[Case]:
    """Who the client is, the proxy says: nothing that it was told."""
    source = "practice: what is not trusted is overwritten"
    for name in (
        b"X-Real-IP", b"X-Forwarded-For", b"X-Client-Cert-Subject", b"Forwarded", b"X-Original-URL",
        b"Client-IP", b"Proxy",
    ):  # fmt: skip
        for spelt in dict.fromkeys((name, name.replace(b"-", b"_"), name.replace(b"-", b"_", 1))):
            for forged in (b"6.6.6.6", b""):
                yield Case(
                    f"{spelt.decode()}: {forged.decode()} is not believed",
                    source + ("; RFC 3875 §4.1.18" if spelt != name else ""),
                    get(b"%b: %b\r\n" % (spelt, forged)),
                    seen=(ROOT,),
                    fields=((spelt.lower(), own(spelt)),),
                )
    yield Case(
        "an end-to-end field with underscores passes",
        "RFC 9110 §5.1",
        get(b"X_Mine: 1\r\n"),
        seen=(ROOT,),
        fields=((b"x_mine", [b"1"]),),
    )


def own(name: bytes) -> list[bytes]:
    return [b"127.0.0.1"] if name in (b"X-Real-IP", b"X-Forwarded-For") else []


def end_to_end() -> Iterator[Case]:
    for name, value in (
        (b"accept-encoding", b"gzip, br"),
        (b"range", b"bytes=0-1"),
        (b"if-none-match", b'W/"a"'),
        (b"origin", b"null"),
        (b"content-encoding", b"gzip"),
        (b"cache-control", b"no-transform"),
        (b"sec-fetch-mode", b"cors"),
        (b"priority", b"u=1, i"),
    ):
        yield Case(
            f"{name.decode()} passes as it is",
            "RFC 9110 §7.7: a proxy does not change what it does not understand",
            get(b"%b: %b\r\n" % (name, value)),
            seen=(ROOT,),
            fields=((name, [value]),),
        )
    for fields, source in (
        (b"User-Agent: x\r\n", b"user-agent"),
        (b"", b"accept"),
    ):
        expected = [b"x"] if fields else []
        yield Case(
            f"{source.decode()} is as the client sent it, or not at all",
            "RFC 9110 §10.1.5, §12.5.1",
            b"GET / HTTP/1.1\r\n%b%b%b\r\n" % (HOST, fields, CLOSE),
            seen=(ROOT,),
            fields=((source, expected),),
        )


def trailers_up() -> Iterator[Case]:
    """Behind a chunked body; which pass, and that none is merged into the head."""
    for name, passes in (
        (b"x-trailer", True),
        (b"content-digest", True),
        (b"content-length", False),
        (b"content_length", False),
        (b"transfer-encoding", False),
        (b"host", False),
        (b"authorization", False),
        (b"cookie", False),
        (b"x-forwarded-for", False),
        (b"x-real-ip", False),
        (b"x-request-id", False),
    ):
        yield Case(
            f"{name.decode()} {'passes' if passes else 'stops'} as a trailer",
            "RFC 9110 §6.5.1, RFC 9530",
            chunked(b"3\r\nabc\r\n0\r\n%b: 9\r\n\r\n" % name),
            seen=(Seen(b"POST", b"/", b"abc"),),
            trailers=[(name, b"9")] if passes else [],
        )


def handshakes() -> Iterator[Case]:
    """WebSocket handshakes that no server may accept; the backend need not see them."""
    key, version = (
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n",
        b"Sec-WebSocket-Version: 13\r\n",
    )
    begin = b"GET / HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\n" % HOST
    for name, lines in (
        ("no version", key),
        ("version 8", key + b"Sec-WebSocket-Version: 8\r\n"),
        ("two versions", key + version + b"Sec-WebSocket-Version: 8\r\n"),
        ("no key", version),
        ("two keys", key + key + version),
        ("a key of 15 bytes", b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2Rl\r\n" + version),
        ("a key that is no base64", b"Sec-WebSocket-Key: ????????????????????????\r\n" + version),
    ):
        yield Case(
            f"a handshake with {name}",
            "RFC 6455 §4.2.1",
            begin + lines + b"\r\n",
            (400, 426),
        )


FORWARDING = (hop_by_hop, identity, end_to_end, trailers_up, handshakes)


def forwarding_cases() -> list[Case]:
    return [case for group in FORWARDING for case in group()]
