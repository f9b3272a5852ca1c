"""What comes of a backend's answer, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import UpstreamBadAnswer, UpstreamCut, UpstreamError
from app.upstream import parsing
from app.upstream.client import UpstreamClient
from app.upstream.framing import MAX_HEAD
from app.upstream.known_heads import MAX_HEADS, KnownHeads
from app.upstream.parsed_answer import COMPLETE, HEAD
from app.upstream.parsing import AnswerParser
from tests.backends import Conversation, answer, answering, scripted, truncating
from tests.upstream.asking import asked, opened, read
from tests.upstream.test_odd_answers import MENDED

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


async def test_a_small_answer_is_whole_and_its_connection_is_kept(client):
    fields = (b"X-A: b", b"Set-Cookie: a", b"Set-Cookie: b")
    async with answering(answer(b"hello", *fields)) as backend:
        for fresh in (True, False):
            got = await opened(client, backend.url, target=b"/a%2Fb//x/../y?q=%20")
            assert (got.status, got.reason, got.whole) == (200, b"OK", b"hello")
            assert got.headers[:3] == [(b"x-a", b"b"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
            assert (got.connect_time is not None) is fresh
            assert (await read(got)).body == b"hello"
        assert backend.accepted == 1
        line = b"GET /a%2Fb//x/../y?q=%20 HTTP/1.1\r\nHost: x.org\r\n\r\n"
        assert [request.head for request in backend.requests] == [line, line]


GOOD = [
    pytest.param(answer(b"hello"), b"hello", True, id="with a length"),
    pytest.param(answer(b"\r\n"), b"\r\n", True, id="a body of a line break"),
    pytest.param(OK + b"content-length:5 \r\n\r\nhello", b"hello", True, id="space after a value"),
    pytest.param(OK + b"Content-Length: 005\r\n\r\nhello", b"hello", True, id="zeros in front"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n" + END, b"hello", True, id="in one chunk"),
    pytest.param(CHUNKED + b"4\r\nhell\r\n01\r\no\r\n" + END, b"hello", True, id="in two chunks"),
    pytest.param(CHUNKED + b"5;a=b;c\r\nhello\r\n" + END, b"hello", True, id="chunk extensions"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"hello", True, id="trailers"),
    pytest.param(
        OK + b"Transfer-Encoding: Chunked \r\n\r\n" + END, b"", True, id="the coding in capitals"
    ),
    pytest.param(OK + b"\r\nhello", b"hello", False, id="until the backend closes"),
    pytest.param(OK + b"Connection: close\r\n\r\nhello", b"hello", False, id="announced closing"),
    pytest.param(answer(b"a", b"Connection: x, Close"), b"a", False, id="length, then closing"),
    pytest.param(b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello", False, id="HTTP/1.0"),
    pytest.param(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        b"a", True, id="HTTP/1.0 kept",
    ),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, id="204"),
    pytest.param(b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", b"", True, id="204 with a length"),
    pytest.param(
        b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", b"", True, id="304 with a length"
    ),
    pytest.param(b"HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n", b"", True, id="205"),
    pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", True, id="no reason, no space"),
    pytest.param(b"HTTP/1.1 299 \xe9 \t\r\nContent-Length: 0\r\n\r\n", b"", True, id="a reason"),
    pytest.param(OK + b"X: \xe9\t!\r\nContent-Length: 0\r\n\r\n", b"", True, id="a latin-1 value"),
    pytest.param(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + answer(b"a"), b"a", True, id="after 100 and 103",
    ),
    pytest.param(
        b"HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n" + answer(b"a"), b"a", True,
        id="after a 103 with a length",
    ),
    pytest.param(
        OK + b"X: " + b"x" * (MAX_HEAD - 100) + b"\r\nContent-Length: 1\r\n\r\na", b"a", True,
        id="a head of nearly 64 KiB",
    ),
]  # fmt: skip

BAD_HEADS = [
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
    pytest.param(b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="RTSP"),
    pytest.param(b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="ICE"),
    pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="HTTP/2.0"),
    pytest.param(b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", id="HTTP/0.9"),
    pytest.param(b"\r\n" + answer(b""), id="an empty line first"),
    pytest.param(b"\n" + answer(b""), id="a line feed first"),
    pytest.param(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", id="two digits"),
    pytest.param(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", id="four digits"),
    pytest.param(b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", id="status 000"),
    pytest.param(b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", id="status 099"),
    pytest.param(b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", id="two spaces"),
    pytest.param(b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n", id="a tab for a space"),
    pytest.param(b"HTTP/1.1 200-OK\r\nContent-Length: 0\r\n\r\n", id="no space after the status"),
    pytest.param(b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n", id="control byte in reason"),
    pytest.param(b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n", id="NUL in reason"),
    pytest.param(b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", id="CR in reason"),
    pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", id="bare LF after the status"),
    pytest.param(OK + b"X: y\nContent-Length: 0\r\n\r\n", id="bare LF after a field"),
    pytest.param(b"HTTP/1.1 200 OK\nX: y\r\nContent-Length: 0\n\n", id="CRLF after one field"),
    pytest.param(OK + b"Content-Length: 0\r\n\n", id="bare LF at the end"),
    pytest.param(OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n", id="bare CR"),
    pytest.param(OK + b" X: y\r\nContent-Length: 0\r\n\r\n", id="a first line folded"),
    pytest.param(OK + b"Xy\r\nContent-Length: 0\r\n\r\n", id="no colon"),
    pytest.param(OK + b": y\r\nContent-Length: 0\r\n\r\n", id="no name"),
    pytest.param(OK + b"X(: y\r\nContent-Length: 0\r\n\r\n", id="no token for a name"),
    pytest.param(OK + b"X\xe9: y\r\nContent-Length: 0\r\n\r\n", id="8 bits in a name"),
    pytest.param(OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n", id="NUL in a value"),
    pytest.param(
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
        id="length and coding",
    ),
    pytest.param(
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + END,
        id="coding and length",
    ),
    pytest.param(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", id="two lengths"),
    pytest.param(OK + b"Content-Length: 1, 2\r\n\r\na", id="a list of two lengths"),
    pytest.param(OK + b"Content-Length: 1,\r\n\r\na", id="a list with an empty length"),
    pytest.param(OK + b"Content-Length: 2.0\r\n\r\nok", id="a length with a decimal point"),
    pytest.param(OK + b"Content-Length: \x0b1\r\n\r\na", id="VT before the length"),
    pytest.param(OK + b"Content-Length: +1\r\n\r\na", id="a signed length"),
    pytest.param(OK + b"Content-Length: -1\r\n\r\na", id="a negative length"),
    pytest.param(OK + b"Content-Length: 0x1\r\n\r\na", id="a hexadecimal length"),
    pytest.param(OK + b"Content-Length: 1 2\r\n\r\na", id="a length in two parts"),
    pytest.param(OK + b"Content-Length: \r\n\r\na", id="an empty length"),
    pytest.param(OK + b"Content-Length: 99999999999999999999\r\n\r\na", id="a length of 67 bits"),
    pytest.param(OK + b"Content-Length: 9223372036854775807\r\n\r\na", id="a length of 63 bits"),
    pytest.param(OK + b"Content-Length: " + b"0" * 18 + b"1\r\n\r\na", id="a length of 19 digits"),
    pytest.param(OK + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n", id="no length, at length"),
    pytest.param(OK + b"Transfer-Encoding: gzip\r\n\r\na", id="unknown coding"),
    pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END, id="gzip in chunks"),
    pytest.param(OK + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END, id="identity after"),
    pytest.param(OK + b"Transfer-Encoding: xchunked\r\n\r\n" + END, id="xchunked"),
    pytest.param(OK + b"Transfer-Encoding: chunked;x=1\r\n\r\n" + END, id="coding with parameter"),
    pytest.param(OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END, id="VT before the coding"),
    pytest.param(OK + b"Transfer-Encoding: \r\n\r\n" + END, id="an empty coding"),
    pytest.param(
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + END, id="chunks in HTTP/1.0"
    ),
    pytest.param(
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: gzip\r\n\r\n", id="unknown coding of no body"
    ),
    pytest.param(b"HTTP/1.1 101 x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n", id="101"),
    pytest.param(b"HTTP/1.1 101 x\r\n\r\n" + answer(b""), id="101 without Upgrade"),
    pytest.param(b"HTTP/1.1 102 x\r\n\r\n" * 17 + answer(b""), id="a flood of 1xx"),
    pytest.param(b"HTTP/1.1 100 O\x01K\r\n\r\n" + answer(b""), id="a 1xx that is not valid"),
    pytest.param(b"HTTP/1.1 100 OK\r\n\r\nRTSP/1.0 200 OK\r\n\r\n", id="RTSP after 100"),
    pytest.param(OK + b"X: " + b"x" * MAX_HEAD + b"\r\n\r\n", id="a field over 64 KiB"),
    pytest.param(OK + b"X: y\r\n" * 20_000 + b"\r\n", id="fields over 64 KiB"),
    pytest.param(b"HTTP/1.1 103 x\r\nX: " + b"x" * MAX_HEAD, id="a 103 over 64 KiB"),
]

BAD_CHUNKS = [
    pytest.param(b"5\nhello\r\n" + END, id="bare LF after a size"),
    pytest.param(b"5\r\nhello\n" + END, id="bare LF after a chunk"),
    pytest.param(b"5\r\nhello" + END, id="no line break after a chunk"),
    pytest.param(b"4\r\nhello\r\n" + END, id="a chunk longer than its size"),
    pytest.param(b" 5\r\nhello\r\n" + END, id="space before a size"),
    pytest.param(b"0x5\r\nhello\r\n" + END, id="0x"),
    pytest.param(b"fffffffffffffffff\r\nhello\r\n" + END, id="a size of 68 bits"),
    pytest.param(b"\r\nhello\r\n" + END, id="no size"),
    pytest.param(b"5;a\x01\r\nhello\r\n" + END, id="control byte in an extension"),
    pytest.param(b"0\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n", id="a trailer over 64 KiB"),
    pytest.param(b"0\r\nContent-Length: 7\r\n\r\n", id="a length in the trailers"),
]


@pytest.mark.parametrize(("data", "body", "kept"), GOOD)
async def test_valid_answers_are_read(client, data, body, kept):
    async with answering(data) as backend:
        for _ in range(2):
            assert (await asked(client, backend.url)).body == body
        assert backend.accepted == (1 if kept else 2)


@pytest.mark.parametrize("data", BAD_HEADS)
async def test_nothing_is_passed_on_of_an_invalid_head(client, data):
    async with truncating(data) as backend:
        with pytest.raises(UpstreamBadAnswer):
            await opened(client, backend.url)


@pytest.mark.parametrize("data", BAD_CHUNKS)
async def test_an_invalid_chunk_never_ends_a_body(client, data):
    async with truncating(CHUNKED + data) as backend:
        with pytest.raises(UpstreamBadAnswer):
            await asked(client, backend.url)


async def test_the_space_between_chunks_is_limited(client):
    async with truncating(CHUNKED + b"5;" + b"a" * 2**20 + b"\r\nhello\r\n" + END) as backend:
        with pytest.raises(UpstreamBadAnswer):
            await asked(client, backend.url)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(answer(b"hello")[:-1], id="with a length"),
        pytest.param(answer(b"x" * 300_000)[:-1], id="with a great length"),
        pytest.param(CHUNKED + b"5\r\nhel", id="in a chunk"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n", id="between chunks"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\n", id="before the last line"),
        pytest.param(answer(b"hello")[:-5], id="before its first byte"),
    ],
)
async def test_a_body_that_ends_early_is_cut(client, data):
    async with truncating(data) as backend:
        got = await opened(client, backend.url)
        assert got.whole is None
        with pytest.raises(UpstreamCut):
            await read(got)


@pytest.mark.parametrize("data", [b"H", b"HTTP/1.1 200", OK + b"X: y", b"HTTP/1.1 100 x\r\n\r\n"])
async def test_a_head_that_ends_early_is_no_answer_and_no_stale_connection(client, data):
    async with answering(answer(b"a"), data) as backend:
        await asked(client, backend.url)
        with pytest.raises(UpstreamBadAnswer):
            await opened(client, backend.url)


async def test_bytes_that_come_later_cost_the_connection_only(client):
    answered = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"a"))
        await answered.wait()
        await conversation.send(answer(b"not asked for"))
        await conversation.gone()

    async with scripted(script) as backend:
        for _ in range(2):
            answered.clear()
            assert (await asked(client, backend.url)).body == b"a"
            answered.set()
            await backend.until(lambda backend: backend.open == 0)
        assert backend.accepted == 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(OK + b"Content-Length: 5\r\n\r\n", id="with a length"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n", id="in chunks"),
        pytest.param(OK + b"\r\n", id="with neither"),
    ],
)
async def test_an_answer_to_head_has_no_body(client, data):
    async def script(conversation: Conversation) -> None:
        while True:
            method, _ = (await conversation.receive()).line
            await conversation.send(data if method == b"HEAD" else answer(b"hello"))

    async with scripted(script) as backend:
        for method, body in ((b"HEAD", b""), (b"GET", b"hello"), (b"HEAD", b"")):
            assert (await asked(client, backend.url, method=method)).body == body
        assert backend.accepted == 1


async def test_a_length_is_passed_on_as_everybody_reads_it(client):
    async with answering(OK + b"Content-Length: 0010\r\n\r\n") as backend:
        got = await asked(client, backend.url, method=b"HEAD")
    assert got.headers == [(b"content-length", b"10")]


async def test_trailers_are_kept_apart_from_the_headers(client):
    async with answering(CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n") as backend:
        got = await opened(client, backend.url)
        await read(got)
        assert (got.trailers, b"x-sum" in dict(got.headers)) == ([(b"x-sum", b"1")], False)


ODD = [pytest.param(p.values[0], id=p.id) for p in MENDED]
CHUNKS = [pytest.param(CHUNKED + p.values[0], id=p.id) for p in BAD_CHUNKS]
EVERY = [*GOOD, *ODD, *BAD_HEADS, *CHUNKS]
SHORT = [pytest.param(p.values[0], id=p.id) for p in EVERY if len(p.values[0]) < 200]


async def outcome(client: UpstreamClient, data: bytes, size: int) -> bytes | type[UpstreamError]:
    """The body, or the error, when `data` comes in segments of `size` bytes."""

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send_apart(data[i : i + size] for i in range(0, len(data), size))

    async with scripted(script) as backend:
        try:
            return (await asked(client, backend.url)).body
        except UpstreamError as error:
            return type(error)


@pytest.mark.parametrize("data", SHORT)
async def test_an_answer_means_the_same_byte_by_byte(client, data):
    assert await outcome(client, data, 1) == await outcome(client, data, len(data))


def parsed(pieces: Iterable[bytes]) -> tuple[object, ...]:
    """What the parser makes of one answer that comes in `pieces` before the backend closes."""
    parser = AnswerParser()
    parser.expect(to_head=False)
    body = b""
    try:
        for piece in pieces:
            body += parser.feed(piece)
    except UpstreamBadAnswer:
        return ("bad",)
    if not parser.eof() and parser.state != COMPLETE:
        return ("cut", parser.state > HEAD)
    return (parser.status, parser.reason, parser.headers, body, parser.trailers, parser.keep)


@given(st.integers(0, len(EVERY) - 1), st.lists(st.floats(0, 1)))
@settings(max_examples=200)
def test_the_parser_says_the_same_wherever_an_answer_is_split(number, places):
    data = EVERY[number].values[0]
    cuts = sorted(int(place * len(data)) for place in places)
    pieces = [data[a:b] for a, b in pairwise([0, *cuts, len(data)]) if a < b]
    assert parsed(pieces) == parsed([data])


@pytest.mark.parametrize("data", SHORT)
def test_the_parser_says_the_same_at_every_single_split(data):
    for cut in range(1, len(data)):
        assert parsed([data[:cut], data[cut:]]) == parsed([data])


@pytest.mark.parametrize("data", SHORT)
def test_a_head_that_has_come_before_means_the_same(data, monkeypatch):
    known = KnownHeads()
    monkeypatch.setattr(parsing, "KNOWN_HEADS", known)
    new = parsed([data])
    assert [parsed([data]), parsed([data])] == [new, new]
    for head in [head for head, what in known.items() if what is not None]:
        end = len(head) + 4
        for cut in (end, end + 1, len(data)):
            pieces = [data[:cut], *([data[cut:]] if cut < len(data) else [])]
            assert parsed(pieces) == new
        for behind in (b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
            assert parsed([data + behind]) == (*new[:-1], False)
        assert parsed([data[:end]])[0] == (new[0] if end == len(data) else "cut")
        assert parsed([head]) == ("cut", False)


def test_an_answer_to_head_looks_for_no_known_head(monkeypatch):
    monkeypatch.setattr(parsing, "KNOWN_HEADS", known := KnownHeads())
    parser = AnswerParser()
    for to_head in (False, False, True):
        assert parser.state == COMPLETE
        parser.expect(to_head=to_head)
        body = parser.feed(answer(b"" if to_head else b"hello").replace(b": 0", b": 5"))
        assert (parser.state, parser.keep, body) == (COMPLETE, True, b"" if to_head else b"hello")
    assert len(known) == 1


def test_heads_that_never_come_again_are_looked_for_seldom_and_not_kept(monkeypatch):
    monkeypatch.setattr(parsing, "KNOWN_HEADS", known := KnownHeads())
    parser = AnswerParser()
    for number in range(MAX_HEADS * 10):
        parser.expect(to_head=False)
        parser.feed(answer(b"a", b"X: %d" % number))
    assert 0 < len(known) <= MAX_HEADS
    assert set(known.values()) == {None}
    for _ in range(60):  # until the next look, and one more
        parser.expect(to_head=False)
        parser.feed(answer(b"a"))
    assert any(known.values())
