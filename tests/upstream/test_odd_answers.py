"""Answers of servers that do not keep to the grammar, or to their own lengths."""

from __future__ import annotations

import re

import pytest

from app.errors import UpstreamBadAnswer, UpstreamStale
from app.upstream.parsed_answer import COMPLETE
from app.upstream.parsing import AnswerParser
from tests.backends import Conversation, answer, answering, scripted, truncating
from tests.upstream.asking import asked, opened

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
A = b"Content-Length: 1\r\n\r\na"
IN_CHUNKS = b"\r\n\r\n1\r\na\r\n" + END
CODED = b"Transfer-Encoding: chunked"

MENDED = [
    pytest.param(OK + b"X : y\r\n" + A, b"y", b"a", id="space before a colon"),
    pytest.param(OK + b"X: y\r\n\t z\r\n" + A, b"y z", b"a", id="folded"),
    pytest.param(OK + b"X: a\x0b\x7fb\r\n" + A, b"a  b", b"a", id="controls in a value"),
    pytest.param(
        b"HTTP/1.1 200 OK\nX: y\nContent-Length: 6\n\na\r\n\r\nb", b"y", b"a\r\n\r\nb",
        id="LF ends each line",
    ),
    pytest.param(b"HTTP/1.1 200 OK\nX: y\n\na\n\nb", b"y", b"a\n\nb", id="LF, until it closes"),
    pytest.param(b"HTTP/1.1 100 C\n\n" + OK + b"X: y\r\n" + A, b"y", b"a", id="LF in a 1xx"),
    pytest.param(OK + b"Content-Length: 01\r\nX: y\r\n" + A, b"y", b"a", id="a length twice"),
    pytest.param(OK + b"X: y\r\nContent-Length: 1, 1\r\n\r\na", b"y", b"a", id="equal lengths"),
    pytest.param(OK + CODED + b", Chunked\r\nX: y" + IN_CHUNKS, b"y", b"a", id="chunked twice"),
    pytest.param(
        OK + CODED + b"\r\nX: y\r\n" + CODED + IN_CHUNKS, b"y", b"a", id="chunked in two fields"
    ),
    pytest.param(
        OK + CODED + b"\r\nX : y\r\n" + CODED + IN_CHUNKS, b"y", b"a", id="in two, with a space"
    ),
    pytest.param(
        OK + b"Transfer-Encoding: identity\r\nX: y\r\n\r\na", b"y", b"a", id="identity"
    ),
    pytest.param(
        OK + b"Transfer-Encoding: identity\r\nX: y\r\n" + A, b"y", b"a", id="identity with a length"
    ),
    pytest.param(
        OK + b"X: y\r\n" + CODED + b"\r\n\r\n1  \r\na\r\n0 \r\n\r\n", b"y", b"a", id="padded sizes"
    ),
    pytest.param(b"HTTP/1.1 999 No\r\nX: y\r\n" + A, b"y", b"a", id="status 999"),
    pytest.param(b"HTTP/1.1 600 No\r\nX: y\r\n" + A, b"y", b"a", id="status 600"),
]  # fmt: skip

NAMED = [
    pytest.param(b"HTTP/1.1  200 OK\r\n\r\n", "malformed status line", id="two spaces"),
    pytest.param(b"http/1.1 200 OK\r\n\r\n", "no HTTP/1 status line: b'http/1.1", id="lower case"),
    pytest.param(b"<html>ok</html>", "no HTTP/1 status line: b'<html>", id="HTTP/0.9"),
    pytest.param(OK + b"X Y: z\r\n\r\n", "field name: b'X Y: z'", id="a space in a name"),
    pytest.param(OK + b"X: y\nA: b\r\n\r\n", "a bare CR or LF", id="bare LF"),
    pytest.param(OK + b"X: y\0\r\n\r\n", "NUL in a field: b'X'", id="NUL"),
    pytest.param(OK + b" X: y\r\n\r\n", "folded line before its first", id="folded first"),
    pytest.param(OK + b"Content-Length: 2\r\n" + A, "different lengths", id="lengths"),
    pytest.param(OK + CODED + b"\r\n" + A, "both a length and a transfer coding", id="both"),
    pytest.param(OK + b"Content-Length: 2.0\r\n\r\nok", "length: b'2.0'", id="a bad length"),
    pytest.param(OK + b"Content-Length: \x0b1\r\n\r\na", "a control character", id="VT"),
    pytest.param(
        b"HTTP/1.0 200 OK\r\n" + CODED + IN_CHUNKS, "transfer coding in HTTP/1.0", id="HTTP/1.0"
    ),
]  # fmt: skip

ENDED = [
    pytest.param(b"GET", answer(b"a"), b"a", id="with a length"),
    pytest.param(b"GET", answer(b"a\n"), b"a\n", id="with a length and a line break"),
    pytest.param(b"GET", answer(b""), b"", id="without a body"),
    pytest.param(b"GET", answer(b"a", b"Connection: close"), b"a", id="that closes"),
    pytest.param(b"GET", CHUNKED + b"1\r\na\r\n" + END, b"a", id="in chunks"),
    pytest.param(b"GET", answer(b"", status=b"204 No Content"), b"", id="204"),
    pytest.param(b"GET", answer(b"", status=b"204 ?"), b"", id="204 with a phrase"),
    pytest.param(b"GET", b"HTTP/1.1 304 x\r\n" + CODED + b"\r\n\r\n", b"", id="304 in chunks"),
    pytest.param(b"HEAD", OK + b"Content-Length: 5\r\n\r\n", b"", id="HEAD with a length"),
    pytest.param(b"HEAD", CHUNKED, b"", id="HEAD in chunks"),
    pytest.param(b"HEAD", OK + b"\r\n", b"", id="HEAD with neither"),
]
BEHIND = [b"x", b"hello", END, b"\r\n", answer(b"b"), b"HTTP/1.1 200 O"]


@pytest.mark.parametrize(("data", "value", "body"), MENDED)
async def test_an_answer_that_can_be_read_in_one_way_is_mended(client, data, value, body):
    async with answering(data) as backend:
        got = await asked(client, backend.url)
    assert (got.headers.count((b"x", value)), got.body) == (1, body)


@pytest.mark.parametrize(("data", "reason"), NAMED)
async def test_a_refusal_names_what_is_wrong(client, data, reason):
    async with truncating(data) as backend:
        with pytest.raises(UpstreamBadAnswer, match=re.escape(reason)):
            await opened(client, backend.url)


@pytest.mark.parametrize("extra", BEHIND)
@pytest.mark.parametrize(("method", "data", "body"), ENDED)
async def test_bytes_behind_an_answer_cost_its_connection_only(client, method, data, body, extra):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(data + extra)
        await conversation.gone()

    async with scripted(script) as backend:
        for _ in range(2):
            assert (await asked(client, backend.url, method=method)).body == body
            await backend.until(lambda backend: backend.open == 0)
        assert backend.accepted == 2


async def test_bytes_behind_an_answer_that_come_after_the_next_request_blame_nobody(client):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"te"))
        await conversation.receive()
        await conversation.send(b"st")
        await conversation.gone()

    async with scripted(script) as backend:
        await asked(client, backend.url)
        with pytest.raises(UpstreamStale):
            await opened(client, backend.url)


@pytest.mark.parametrize("size", [5, 70_000, 200_000])
async def test_all_bytes_of_the_length_are_delivered_and_no_more(client, size):
    body = b"x" * size
    async with truncating(answer(body) + b"0123456789") as backend:
        assert (await asked(client, backend.url)).body == body


@pytest.mark.parametrize("extra", BEHIND)
@pytest.mark.parametrize(("method", "data", "body"), ENDED)
def test_bytes_behind_an_answer_change_nothing_wherever_it_is_split(method, data, body, extra):
    whole = data + extra
    for cut in range(1, len(whole)):
        parser = AnswerParser()
        parser.expect(to_head=method == b"HEAD")
        got = parser.feed(whole[:cut])
        if parser.state != COMPLETE:
            got += parser.feed(whole[cut:])
        assert (got, parser.state) == (body, COMPLETE)
