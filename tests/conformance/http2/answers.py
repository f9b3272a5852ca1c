"""What a backend of HTTP/1.1 answers, as a client of HTTP/2 gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.conformance.case import Seen
from tests.conformance.http2.case import Case, stream_error
from tests.conformance.http2.frames import head, headers
from tests.conformance.http2.wire import Answer

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ANSWERS = {
    b"/204": b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"/304": b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\nContent-Length: 9\r\n\r\n",
    b"/103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n%bContent-Length: 2\r\n\r\nok" % OK,
    b"/100": b"HTTP/1.1 100 Continue\r\n\r\n%bContent-Length: 2\r\n\r\nok" % OK,
    b"/101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nok",
    b"/empty": OK + b"Content-Length: 0\r\n\r\n",
    b"/chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    b"/no-chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"/trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"/until-close": OK + b"\r\nok",
    b"/connection": OK + b"Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\n"
    b"X-A: 1\r\nContent-Length: 2\r\n\r\nok",
    b"/named": b"HTTP/1.1 200 OK\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nX-A: 1\r\n"
    b"Content-Length: 2\r\n\r\nok",
    b"/cookies": OK + b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
    b"/upper": OK + b"X-UPPER: 1\r\nContent-Length: 2\r\n\r\nok",
    b"/phrase": b"HTTP/1.1 200 Very Well\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    b"/large": OK + b"Content-Length: 200000\r\n\r\n" + b"x" * 200000,
    b"/longer": OK + b"Content-Length: 2\r\n\r\nok and more",
    b"/cut": OK + b"Content-Length: 10\r\n\r\nhalf",
    b"/cut-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nA\r\nhalf",
    b"/cut-chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    b"/broken-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n",
    b"/nothing": b"",
    b"/cut-head": b"HTTP/1.1 200 OK\r\nConten",
    b"/no-http": b"SSH-2.0-OpenSSH_9.2\r\n",
    b"/nul": OK + b"X-A: 1\x002\r\nContent-Length: 2\r\n\r\nok",
    b"/cr": OK + b"X-A: 1\r2\r\nContent-Length: 2\r\n\r\nok",
    b"/bad-name": OK + b"X A: 1\r\nContent-Length: 2\r\n\r\nok",
    b"/pseudo": OK + b":status: 201\r\nContent-Length: 2\r\n\r\nok",
    b"/two-lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    b"/length-and-coding": OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
}
"""Raw answers by target; the backend closes behind each."""
DROPPED = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
CUT = stream_error("INTERNAL_ERROR", "PROTOCOL_ERROR", "CANCEL", "STREAM_CLOSED")
GATEWAY = ("502", "500", *CUT)


def get(
    target: bytes,
    name: str,
    source: str,
    verdicts: tuple[str, ...] = ("200",),
    check: Callable[[Answer], bool] | None = None,
    *,
    method: bytes = b"GET",
    again: bool = False,
) -> Case:
    """`again`: the proxy may ask a second time."""
    return Case(
        name,
        source,
        (headers(1, head(method, target)),),
        verdicts,
        seen=None if again else (Seen(method, target),),
        check=check and (lambda wire: check(wire.of(1))),
    )


def ok(answer: Answer) -> bool:
    return answer.body == b"ok" and answer.ended


def heads() -> Iterator[Case]:
    source = "RFC 9113 §8.2.2, §8.3.2"
    yield get(b"/upper", "names are in lower case", "RFC 9113 §8.2",
              check=lambda answer: answer.values(b"x-upper") == [b"1"])  # fmt: skip
    yield get(
        b"/connection",
        "fields of the backend's connection stay there",
        source,
        check=lambda answer: (
            not any(answer.values(name) for name in DROPPED)
            and answer.values(b"x-a") == [b"1"]
            and ok(answer)
        ),
    )
    yield get(
        b"/named",
        "a field that Connection names stays there",
        "RFC 9110 §7.6.1",
        check=lambda answer: answer.values(b"x-mine") == [] and answer.values(b"x-a") == [b"1"],
    )
    yield get(b"/chunks", "chunks are DATA", source,
              check=lambda answer: ok(answer) and not answer.values(DROPPED[3]))  # fmt: skip
    yield get(
        b"/cookies",
        "two Set-Cookie stay two",
        "RFC 9110 §5.3",
        check=lambda answer: answer.values(b"set-cookie") == [b"a=1", b"b=2"],
    )
    yield get(b"/phrase", "a phrase is not sent", "RFC 9113 §8.3.2", check=ok)
    yield get(
        b"/",
        "the status comes first, once, and alone",
        "RFC 9113 §8.3, §8.3.2",
        check=lambda answer: (
            [name for name, _ in answer.fields if name.startswith(b":")] == [b":status"]
            and answer.fields[0][0] == b":status"
        ),
    )


def ends() -> Iterator[Case]:
    source = "RFC 9113 §8.1"
    for target, name, status in (
        (b"/204", "204 has no body", "204"),
        (b"/304", "304 has no body", "304"),
        (b"/empty", "an empty body", "200"),
        (b"/no-chunks", "an empty body in chunks", "200"),
    ):
        yield get(target, name, source, (status,),
                  check=lambda answer: answer.body == b"" and answer.ended)  # fmt: skip
    yield get(b"/204", "HEAD of a 204", source, ("204",), method=b"HEAD")
    yield get(
        b"/large",
        "HEAD of a long answer",
        "RFC 9110 §9.3.2",
        check=lambda answer: (
            answer.body == b"" and answer.values(b"content-length") in ([b"200000"], [])
        ),
        method=b"HEAD",
    )
    yield get(b"/until-close", "a body up to the backend's close", "RFC 9112 §6.3", check=ok)
    yield get(b"/longer", "more than was announced is not passed", "RFC 9112 §6.3", check=ok)
    yield get(b"/trailers", "trailers end a stream once", source, check=ok)


def interims() -> Iterator[Case]:
    source = "RFC 9113 §8.1, RFC 9110 §15.2"
    yield get(b"/103", "103 comes ahead", source,
              check=lambda answer: ok(answer) and answer.interim in ([103], []))  # fmt: skip
    yield get(b"/100", "100 that nobody asked for", source, check=ok)
    yield get(b"/101", "101 has no place in HTTP/2", "RFC 9113 §8.6", GATEWAY,
              check=lambda answer: 101 not in answer.interim)  # fmt: skip


def cuts() -> Iterator[Case]:
    source = "RFC 9113 §8.1: a cut is no end"
    for target, name in (
        (b"/cut", "a body cut short"),
        (b"/cut-chunk", "a chunk cut short"),
        (b"/cut-chunks", "chunks without the last one"),
    ):
        yield get(target, name, source, (*CUT, "502"), check=lambda answer: answer.body != b"ok")
    for target, name in (
        (b"/nothing", "no answer"),
        (b"/cut-head", "half a head"),
        (b"/no-http", "another protocol"),
    ):
        yield get(target, name, "RFC 9110 §15.6.3", GATEWAY, again=True)
    yield get(b"/broken-chunk", "a broken chunk", source, GATEWAY)


def lies() -> Iterator[Case]:
    """Heads that would be something else in HTTP/2, or were never legal."""
    source = "RFC 9113 §8.2.1, §10.3"
    for target, name in ((b"/nul", "NUL"), (b"/cr", "a bare CR")):
        yield get(
            target,
            f"{name} in a value does not pass",
            source,
            (*GATEWAY, "200"),
            check=lambda answer: all(
                not set(value) & set(b"\r\n\0") for value in answer.values(b"x-a")
            ),
        )
    yield get(b"/bad-name", "a space in a name", source, (*GATEWAY, "200"),
              check=lambda answer: answer.values(b"x a") == [])  # fmt: skip
    yield get(b"/pseudo", "a pseudo-field of the backend's", source, (*GATEWAY, "200"),
              check=lambda answer: answer.values(b":status") != [b"200", b"201"])  # fmt: skip
    yield get(b"/two-lengths", "two lengths", "RFC 9112 §6.3", GATEWAY)
    yield get(
        b"/length-and-coding",
        "a length and a coding",
        "RFC 9112 §6.3",
        (*GATEWAY, "200"),
        check=lambda answer: answer.status != 200 or (ok(answer) and not answer.values(DROPPED[3])),
    )


ANSWERING = (heads, ends, interims, cuts, lies)
