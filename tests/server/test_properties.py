"""What holds for every input: split anywhere, mixed anyhow, read by other parsers.

The oracle: whatever we let through is read by h11 and by llhttp as the same one
request, with the same body and nothing behind it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from itertools import pairwise
from typing import Any

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.server.body_reading import ChunkedBody
from app.server.refusal import Refusal
from app.server.request_head import RequestHead, check_beginning, parse_head
from tests.conformance.framing import framing_cases
from tests.conformance.requests import request_cases
from tests.server.serving import Recorder, serving

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
BYTES = st.binary(max_size=12)
ODD = st.sampled_from([
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"\x0b", b"\x80", b"\xff", b"",
    b"/", b"?", b"#", b"@", b"[", b"_", b"-", b"+", b"0", b"HTTP/1.1", b"GET",
])  # fmt: skip
NAMES = st.sampled_from([
    b"Host", b"content-length", b"Content-Length", b"Transfer-Encoding", b"transfer-encoding",
    b"Connection", b"Upgrade", b"Expect", b"X", b"Content_Length", b"Trailer", b"TE", b"",
])  # fmt: skip
VALUES = st.sampled_from([
    b"a.test", b"0", b"3", b"03", b"5", b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"close",
    b"keep-alive", b"upgrade", b"websocket", b"100-continue", b"1, 1", b"", b"v",
])  # fmt: skip
LINES = st.builds(
    lambda name, odd, value, more: name + odd + value + more,
    NAMES | BYTES,
    st.just(b": ") | st.just(b":") | ODD,
    VALUES | BYTES,
    st.just(b"") | ODD,
)
REQUEST_LINES = st.builds(
    lambda method, target, version: b" ".join([method, target, version]),
    st.sampled_from([b"GET", b"POST", b"FOO", b"CONNECT", b"OPTIONS", b"get"]) | BYTES,
    st.sampled_from([b"/", b"/a?b", b"*", b"http://a.test/x", b"http://a.test", b"a:1"]) | BYTES,
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.10"]) | BYTES,
)
HEADS = st.builds(
    lambda line, host, lines: b"\r\n".join([line, *host, *lines]),
    REQUEST_LINES,
    st.sampled_from([[], [b"Host: a.test"]]),
    st.lists(LINES, max_size=5),
)


def parsed(head: bytes) -> RequestHead | None:
    try:
        return parse_head(head)
    except Refusal:
        return None


def forwarded(request: RequestHead, body: bytes) -> bytes:
    """The request as a proxy would write it."""
    line = b"%b %b HTTP/1.1" % (request.method, request.target)
    headers = list(request.headers)
    if not any(name == b"host" for name, _ in headers):
        headers.append((b"host", b"a.test"))
    return b"\r\n".join([line, *map(b": ".join, headers), b"", body])


def body_for(request: RequestHead) -> tuple[bytes, bytes]:
    """A body on the wire, and its payload."""
    if request.length < 0:
        return b"3\r\nGET\r\n0\r\n\r\n", b"GET"
    payload = (b"GET /hidden HTTP/1.1\r\n\r\n" * 5)[: min(request.length, 60)]
    return payload, payload


def read_by_h11(data: bytes) -> list[Any]:
    """Every event up to the end of the data."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    events = []
    while True:
        event = connection.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return events
        events.append(event)


@given(HEADS)
@example(b"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nX: 1")
@example(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 003")
@settings(max_examples=EXAMPLES)
def test_what_we_let_through_h11_reads_the_same(head: bytes) -> None:
    request = parsed(head)
    if request is None or request.length > 60:
        return
    wire, payload = body_for(request)
    first, *others = read_by_h11(forwarded(request, wire))
    assert isinstance(first, h11.Request)
    assert (first.method, first.target) == (request.method, request.target)
    got = b"".join(event.data for event in others if isinstance(event, h11.Data))
    assert got == payload
    assert not [event for event in others if isinstance(event, h11.Request)]


class Llhttp:
    """Collects what llhttp makes of some bytes."""

    def __init__(self) -> None:
        self.urls: list[bytes] = []
        self.body = b""
        self.completed = 0

    def on_url(self, url: bytes) -> None:
        self.urls.append(url)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.completed += 1


@given(HEADS)
@settings(max_examples=EXAMPLES)
def test_what_we_let_through_llhttp_reads_the_same(head: bytes) -> None:
    request = parsed(head)
    if request is None or request.length > 60 or request.method not in (b"GET", b"POST"):
        return  # llhttp has its own list of methods
    if request.upgrade or any(name == b"upgrade" for name, _ in request.headers):
        return  # and its own idea of an upgrade; the proxy forwards none
    wire, payload = body_for(request)
    seen = Llhttp()
    httptools.HttpRequestParser(seen).feed_data(forwarded(request, wire))
    assert (seen.urls, seen.body, seen.completed) == ([request.target], payload, 1)


@given(HEADS, st.integers(0, 200))
@settings(max_examples=EXAMPLES)
def test_no_beginning_of_a_legal_head_is_refused(head: bytes, size: int) -> None:
    if parsed(head) is not None:
        check_beginning(head[:size])


CHUNKED = [
    b"3\r\nabc\r\n0\r\n\r\n",
    b"a;x=y\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\n",
    b"1 ;a\r\nx\r\n00\r\n\r\nGET /",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"1\r\na\r\n0\r\n bad: 1\r\n\r\n",
]
CHUNK_PARTS = st.sampled_from([
    b"0", b"1", b"3", b"a", b"\r\n", b"\n", b"\r", b"abc", b"x", b";a=b", b" ", b"T: 1",
    b"\r\n\r\n",
])  # fmt: skip


def decoded(pieces: list[bytes]) -> tuple[bytes, bytes | None] | str:
    """Payload and rest of a chunked body fed piece by piece; `refused` for a Refusal."""
    body, payload, rest = ChunkedBody(), b"", None
    for index, piece in enumerate(pieces):
        try:
            part, rest = body.feed(piece)
        except Refusal:
            return "refused"
        payload += part
        if rest is not None:
            return payload, rest + b"".join(pieces[index + 1 :])
    return payload, None


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    st.sampled_from(CHUNKED) | st.lists(CHUNK_PARTS, max_size=12).map(b"".join),
    st.lists(st.integers(0, 80), max_size=6),
)
@settings(max_examples=EXAMPLES)
def test_a_chunked_body_reads_the_same_however_it_is_split(data: bytes, places: list[int]) -> None:
    assert decoded(cut_at(data, places)) == decoded([data])


@given(st.lists(CHUNK_PARTS, max_size=12).map(b"".join))
@settings(max_examples=EXAMPLES)
def test_a_chunked_body_that_we_read_h11_reads_the_same(data: bytes) -> None:
    outcome = decoded([data])
    if isinstance(outcome, str) or outcome[1] is None:
        return
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = data[: len(data) - len(outcome[1])]
    _, *events = read_by_h11(head + wire)
    assert b"".join(e.data for e in events if isinstance(e, h11.Data)) == outcome[0]
    assert isinstance(events[-1], h11.EndOfMessage)


SPLIT = [case for case in (*request_cases(), *framing_cases()) if len(case.send) < 400]


@pytest.mark.parametrize("part", range(4))
async def test_a_case_ends_the_same_byte_by_byte(part: int) -> None:
    """Every short row of the table, sent in segments of one byte."""
    app = Recorder()
    async with serving(app) as served:
        for case in SPLIT[part::4]:
            app.scopes.clear()
            app.bodies.clear()
            client = await served.connect()
            got = asyncio.create_task(client.rest())
            for octet in case.send:
                if got.done() or client.writer.is_closing():
                    break
                client.send(bytes([octet]))
                await asyncio.sleep(0)
            with suppress(ConnectionResetError):  # we sent more after its close
                await got
            client.reset()
            seen = [s["extensions"]["hipache.target"] for s in app.scopes[: len(app.bodies)]]
            assert seen == [request.target for request in case.seen], case.name
            assert app.bodies == [request.body for request in case.seen], case.name
