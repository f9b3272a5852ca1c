"""What backends answer, and what a client must get of it. The rows know no proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"Content-Length: 2\r\n\r\nok"
CODED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"\r\n2\r\nok\r\n0\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n"
COOKIES = b"".join(b"Set-Cookie: c%d=%s\r\n" % (n, b"v" * 130) for n in range(200))
REFUSED = (500, 502, 503, 504)
"""What a proxy may answer in place of an answer that it does not pass on."""


@dataclass(frozen=True)
class AnswerCase:
    """`pieces` are what the backend sends, each in a segment of its own; then it closes.

    A client that asks with `method` (and a body of `upload` bytes) must get one of
    `statuses`, and `body`, if any is named. `fields`: values that must be there under these
    names, none for a field that must not come. `interims`: the 1xx answers before. `cut`: the
    answer cannot be completed, and the client must see that.
    """

    name: str
    source: str
    pieces: tuple[bytes, ...]
    method: bytes = b"GET"
    upload: int = 0
    statuses: tuple[int, ...] = (200,)
    body: bytes | None = b"ok"
    fields: tuple[tuple[bytes, list[bytes]], ...] = ()
    interims: tuple[int, ...] = ()
    cut: bool = False


def odd_answers() -> Iterator[AnswerCase]:
    """They can be read in one way only."""
    for name, source, answer, field in (
        ("space before a colon", "RFC 9112 §5.1", OK + b"X-A : 1\r\n" + BODY, b"1"),
        ("a folded field", "RFC 9112 §5.2", OK + b"X-A: 1\r\n 2\r\n" + BODY, None),
        ("bare LF", "RFC 9112 §2.2", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", None),
        ("one length twice", "RFC 9110 §8.6", OK + b"Content-Length: 2\r\n" + BODY, None),
        ("chunked twice", "RFC 9112 §6.1", OK + CODED + CODED + CHUNKS, None),
        ("coding identity", "RFC 2616 §3.6",
         OK + b"Transfer-Encoding: identity\r\nConnection: close\r\n\r\nok", None),
        ("padded chunk sizes", "practice: Apache 1.3",
         OK + CODED + b"\r\n2   \r\nok\r\n0\r\n\r\n", None),
        ("a control character in a value", "RFC 9110 §5.5", OK + b"X-B: a\x0bb\r\n" + BODY, None),
        ("latin-1 in a value", "RFC 9110 §5.5", OK + b"X-A: \xe9\r\n" + BODY, b"\xe9"),
        ("UTF-8 in a value", "RFC 9110 §5.5", OK + b"X-A: \xc3\xbc\r\n" + BODY, b"\xc3\xbc"),
        ("200 cookies", "practice: 30 KB of fields", OK + COOKIES + BODY, None),
        ("no phrase and no space", "RFC 9112 §4", b"HTTP/1.1 200\r\n" + BODY, None),
    ):  # fmt: skip
        yield AnswerCase(
            name, source, (answer,), fields=() if field is None else ((b"x-a", [field]),)
        )
    for status in (600, 999):
        answer = b"HTTP/1.1 %d Denied\r\n" % status + BODY
        yield AnswerCase(f"status {status}", "RFC 9110 §15", (answer,), statuses=(status,))
    yield AnswerCase(
        "426 keeps its Upgrade", "RFC 9110 §15.5.22",
        (b"HTTP/1.1 426 U\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + BODY,),
        statuses=(426,), fields=((b"upgrade", [b"websocket"]),),
    )  # fmt: skip
    yield AnswerCase(
        "fields of the connection stop here", "RFC 9110 §7.6.1",
        (OK + b"Keep-Alive: timeout=5\r\nConnection: x-a\r\nX-A: 1\r\n" + BODY,),
        fields=((b"keep-alive", []), (b"x-a", [])),
    )  # fmt: skip


def refused_answers() -> Iterator[AnswerCase]:
    """Two parsers could read them differently, or they are no answers."""
    for name, source, answer in (
        ("a length and chunks", "RFC 9112 §6.3", OK + b"Content-Length: 99\r\n" + CODED + CHUNKS),
        ("chunks in HTTP/1.0", "RFC 9112 §6.1", b"HTTP/1.0 200 OK\r\n" + CODED + CHUNKS),
        ("two lengths", "RFC 9112 §6.3", OK + b"Content-Length: 5\r\n" + BODY),
        ("a length with a point", "RFC 9110 §8.6", OK + b"Content-Length: 2.0\r\n\r\nok"),
        ("an empty length", "RFC 9110 §8.6", OK + b"Content-Length:\r\n\r\nok"),
        ("a space in a name", "RFC 9110 §5.1", OK + b"X A: 1\r\n" + BODY),
        ("parentheses in a name", "RFC 9110 §5.1", OK + b"X(a): 1\r\n" + BODY),
        ("NUL in a value", "RFC 9110 §5.5", OK + b"X-A: a\0b\r\n" + BODY),
        ("a bare LF among CRLF", "RFC 9112 §2.2", OK + b"X-A: a\nX-B: b\r\n" + BODY),
        ("two spaces in the status line", "RFC 9112 §4", b"HTTP/1.1  200 OK\r\n" + BODY),
        ("lower-case http", "RFC 9112 §2.3", b"http/1.1 200 OK\r\n" + BODY),
        ("no status line", "RFC 9112 §4", b"<html>ok</html>"),
        ("an empty line first", "RFC 9112 §4", b"\r\n" + OK + BODY),
        ("101 that nobody asked for", "RFC 9110 §15.2.2",
         b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        ("a head that breaks off", "RFC 9112 §8", OK[:-2]),
    ):  # fmt: skip
        yield AnswerCase(name, source, (answer,), statuses=REFUSED, body=None)


def bytes_behind() -> Iterator[AnswerCase]:
    """The answer is over before the bytes end: it is passed whole, and the next is not touched."""
    large = b"x" * 200_000
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for name, answer, body in (
        ("a length", OK + BODY, b"ok"),
        ("200,000 bytes", OK + b"Content-Length: 200000\r\n\r\n" + large, large),
        ("the last chunk", OK + CODED + CHUNKS, b"ok"),
        ("a 204", b"HTTP/1.1 204 N\r\n\r\n", b""),
        ("a 304", b"HTTP/1.1 304 N\r\nContent-Length: 2\r\n\r\n", b""),
        ("an answer to HEAD", OK + b"Content-Length: 2\r\n\r\n", b""),
    ):
        method = b"HEAD" if "HEAD" in name else b"GET"
        status = int(answer[9:12])
        for what, behind in (("ten bytes", b"0123456789"), ("another answer", second)):
            for how, pieces in (("with", (answer + behind,)), ("behind", (answer, behind))):
                yield AnswerCase(
                    f"{what} {how} {name}", "RFC 9112 §6.3", pieces, method, statuses=(status,),
                    body=body,
                )  # fmt: skip


def early_answers() -> Iterator[AnswerCase]:
    """The backend answers before it has read the request's body, and closes."""
    for status in (401, 413):
        for size in (1000, 100_000, 1_000_000, 8_000_000):
            yield AnswerCase(
                f"{status} to an upload of {size:,} bytes", "RFC 9112 §9.5",
                (b"HTTP/1.1 %d No\r\nConnection: close\r\n" % status + BODY,), b"POST", size,
                statuses=(status,),
            )  # fmt: skip


def interim_answers() -> Iterator[AnswerCase]:
    """1xx answers."""
    final = OK + BODY
    source = "RFC 9110 §15.2"
    yield AnswerCase("103 is passed", source, (HINTS + final,), interims=(103,))
    yield AnswerCase("103, and 200 later", source, (HINTS, final), interims=(103,))
    yield AnswerCase("two of 103", source, (HINTS, HINTS, final), interims=(103, 103))
    yield AnswerCase("102 is passed", source, (b"HTTP/1.1 102 P\r\n\r\n", final), interims=(102,))
    yield AnswerCase("an unasked 100 harms nobody", source, (b"HTTP/1.1 100 C\r\n\r\n" + final,))


def broken_answers() -> Iterator[AnswerCase]:
    """An answer that breaks off must not look whole."""
    for name, answer in (
        ("a length that is not reached", OK + b"Content-Length: 9\r\n\r\nok"),
        ("chunks without the last", OK + CODED + b"\r\n2\r\nok\r\n"),
        ("half a chunk", OK + CODED + b"\r\n9\r\nok"),
        ("a malformed chunk", OK + CODED + b"\r\n2\r\nok\r\nzz\r\n"),
        ("a chunk that is too long", OK + CODED + b"\r\n2\r\nokay\r\n0\r\n\r\n"),
    ):
        yield AnswerCase(name, "RFC 9112 §8", (answer,), cut=True)


ANSWERS = (
    odd_answers, refused_answers, bytes_behind, early_answers, interim_answers, broken_answers,
)  # fmt: skip


def answer_cases() -> list[AnswerCase]:
    return [case for group in ANSWERS for case in group()]
