"""Heads that a connection of HTTP/2 repeats, and what changes between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.server.edge import ClientLimits
from app.server.http2.repeated_section import LARGEST, RepeatedSection
from app.server.http2.request_pseudo_fields import FieldSection, read_head
from app.server.refusal import Refusal
from app.server.repetition import Repetition
from app.server.request_head import RequestHead
from tests.server.http2.frames import GET, POST, head

LIMITS = ClientLimits(request_line=64, head=LARGEST + 512, headers=9)
CONNECT = [(b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a.test")]
HEADS = [
    (GET, True),
    (head(path=b"/b?c"), True),
    (head(path=b"/" + b"b" * 46), True),
    (head(path=b"/" + b"b" * 60), True),
    (head(path=b""), True),
    (head(path=b"*"), True),
    (head(path=b"b"), True),
    (head(path=b"/a b"), True),
    (head(path=b"http://a.test/"), True),
    ([*GET[:-1], (b"x-path", b"/")], True),
    ([*GET, (b"x-debug", b"1")], True),
    ([*GET, (b"content-length", b"0")], True),
    ([*GET, (b"x", b"1")], True),
    ([*GET, (b"x", b"2")], True),
    ([*GET, (b"x", b"x" * LARGEST)], True),
    ([*GET, *((b"x", b"1") for _ in range(9))], True),
    (GET[::-1], True),
    (GET, False),
    (POST, True),
    (POST, False),
    ([*POST, (b"content-length", b"7")], False),
    ([*POST, (b"expect", b"100-continue")], False),
    ([(b":method", b"CONNECT"), *CONNECT, (b":path", b"/a")], False),
    ([(b":method", b"CONNECT"), *CONNECT, (b":path", b"/b")], False),
    ([(b":method", b"OPTIONS"), *CONNECT[1:], (b":path", b"*")], True),
    ([(b":method", b"OPTIONS"), *CONNECT[1:], (b":path", b"/")], True),
    ([(b":method", b"GET"), *CONNECT[1:]], True),
]
Head = tuple[list[tuple[bytes, bytes]], bool]
Read = Callable[..., tuple[RequestHead, int]]


def said(read: Read, each: Head) -> object:
    """What `read` says of a head, or how it refuses."""
    fields: FieldSection = tuple((bytes(bytearray(n)), bytes(bytearray(v))) for n, v in each[0])
    try:
        request, size = read(fields, LIMITS, ended=each[1])
    except Refusal as refusal:
        return refusal.status, str(refusal)
    return astuple(replace(request, repetition=None)), size


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(HEADS), max_size=8).map(lambda heads: heads * 2))
def test_a_head_means_the_same_whatever_came_before_it(heads: list[Head]) -> None:
    repeated = RepeatedSection()
    for each in heads:
        assert said(repeated.read, each) == said(read_head, each)


@pytest.mark.parametrize("first", HEADS, ids=range(len(HEADS)))
def test_a_head_means_the_same_behind_each_other_one(first: Head) -> None:
    for second in HEADS:
        repeated = RepeatedSection()
        assert [said(repeated.read, each) for each in (first, second, second)] == [
            said(read_head, each) for each in (first, second, second)
        ]


def test_a_change_of_one_request_s_fields_is_its_own() -> None:
    repeated = RepeatedSection()
    for path in (b"/a", b"/b", b"/c"):
        request, _ = repeated.read(tuple(head(path=path)), LIMITS, ended=True)
        assert request.target == path
        assert request.headers == [(b"host", b"a.test")]
        request.headers.append((b"x", b"1"))
        request.headers[0] = (b"host", b"b.test")


def test_what_is_noted_of_one_request_is_there_for_the_next_ones_alike() -> None:
    repeated = RepeatedSection()

    def read(*more: tuple[bytes, bytes], path: bytes = b"/") -> Repetition | None:
        request, _ = repeated.read((*head(path=path), *more), LIMITS, ended=True)
        assert request.repetition is None or request.repetition.headers == request.headers
        return request.repetition

    assert read() is None  # it may never come again
    first = read()
    assert first is not None
    assert read(path=b"/b") is first
    assert read((b"x", b"1")) is None
    assert read((b"x", b"1")) is not first
    assert read() is None
