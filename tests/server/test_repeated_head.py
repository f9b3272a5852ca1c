"""Heads that a connection repeats, and what changes between them."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.server.refusal import Refusal
from app.server.repeated_head import LONGEST, RepeatedHead
from app.server.request_head import parse_head

A = b"Host: a.test\r\nUser-Agent: x"
HEADS = [
    b"GET / HTTP/1.1\r\n" + A,
    b"GET /b?c HTTP/1.1\r\n" + A,
    b"POST /b HTTP/1.1\r\n" + A,
    b"GET /b HTTP/1.0\r\n" + A,
    b"GET http://a.test/b HTTP/1.1\r\n" + A,
    b"GET http://A.TEST/ HTTP/1.1\r\n" + A,
    b"OPTIONS * HTTP/1.1\r\n" + A,
    b"CONNECT /b HTTP/1.1\r\n" + A,
    b"GET * HTTP/1.1\r\n" + A,
    b"GET / HTTP/1.1\r\n" + A + b"\r\nContent-Length: 007",
    b"POST / HTTP/1.1\r\n" + A + b"\r\nContent-Length: 007",
    b"POST / HTTP/1.1\r\n" + A + b"\r\nTransfer-Encoding: chunked\r\nX-Debug: 1",
    b"GET /ws HTTP/1.1\r\n" + A + b"\r\nConnection: upgrade\r\nUpgrade: websocket",
    b"POST /ws HTTP/1.1\r\n" + A + b"\r\nConnection: upgrade\r\nUpgrade: websocket",
    b"GET / HTTP/1.1\r\n" + A + b"\r\nX: " + b"x" * LONGEST,
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: a b",
]


def read(parse, *args, **named):
    """What a parser says of a head, or how it refuses."""
    try:
        return astuple(replace(parse(*args, **named), repetition=None))
    except Refusal as refusal:
        return refusal.status, str(refusal)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(HEADS), max_size=8).map(lambda heads: heads * 3))
def test_a_head_means_the_same_whatever_came_before_it(heads):
    repeated = RepeatedHead()
    for head in heads:
        assert read(repeated.parse, head, 200, "http") == read(parse_head, head)


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_a_head_means_the_same_each_time(head):
    repeated = RepeatedHead()
    said = [read(repeated.parse, head, 200, "http") for _ in range(4)]
    assert said == [read(parse_head, head)] * 4


def test_a_change_of_one_request_s_fields_is_its_own():
    repeated = RepeatedHead()
    for _ in range(4):
        request = repeated.parse(HEADS[0], 200, "http")
        assert request.headers == [(b"host", b"a.test"), (b"user-agent", b"x")]
        request.headers.clear()
