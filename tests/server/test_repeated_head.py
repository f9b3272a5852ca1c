"""Heads that a connection repeats, and what changes between them."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.server.peer import Peer
from app.server.refusal import Refusal
from app.server.repeated_head import LONGEST, MOST_FIELDS, RepeatedHead
from app.server.request_head import parse_head
from app.server.shared_heads import EACH, MOST_SEEN, ROOM, SharedHeads, size_of

CLIENT = Peer(("127.0.0.1", 1), ("127.0.0.1", 80), "127.0.0.1")
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
    repeated = RepeatedHead(SharedHeads())
    for head in heads:
        assert read(repeated.parse, head, 200, CLIENT) == read(parse_head, head)


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_a_head_means_the_same_each_time(head):
    repeated = RepeatedHead(SharedHeads())
    said = [read(repeated.parse, head, 200, CLIENT) for _ in range(4)]
    assert said == [read(parse_head, head)] * 4


def test_a_change_of_one_request_s_fields_is_its_own():
    repeated = RepeatedHead(SharedHeads())
    for _ in range(4):
        request = repeated.parse(HEADS[0], 200, CLIENT)
        assert request.headers == [(b"host", b"a.test"), (b"user-agent", b"x")]
        request.headers.clear()


@settings(max_examples=40)
@given(st.lists(st.sampled_from(HEADS), max_size=8).map(lambda heads: heads * 3))
def test_a_head_means_the_same_whatever_came_on_other_connections(heads):
    first = SharedHeads()
    for head in heads:
        repeated = RepeatedHead(first)
        for _ in range(3):
            assert read(repeated.parse, head, 200, CLIENT) == read(parse_head, head)


def test_connections_that_begin_alike_share_what_follows_from_their_heads():
    first = SharedHeads()
    a, b, c = [RepeatedHead(first).parse(HEADS[1], 200, CLIENT) for _ in range(4)][1:]
    assert a.repetition is b.repetition is c.repetition is not None
    assert a.headers == b.headers
    assert a is not b
    assert a.headers is not b.headers


@pytest.mark.parametrize(
    "other",
    [
        Peer(("127.0.0.2", 1), ("127.0.0.1", 80), "127.0.0.2"),
        Peer(("127.0.0.1", 1), ("127.0.0.1", 81), "127.0.0.1"),
        Peer(("127.0.0.1", 1), ("127.0.0.1", 80), "127.0.0.1", "https", "TLSv1.3"),
        Peer(("127.0.0.1", 1), ("127.0.0.1", 80), "127.0.0.1", "https", "TLSv1.3", b"CN=a"),
    ],
    ids=["another address", "another port of ours", "over TLS", "with a certificate"],
)
def test_what_another_client_began_with_is_not_shared(other):
    first = SharedHeads()
    for _ in range(3):
        RepeatedHead(first).parse(HEADS[0], 200, CLIENT)
    assert RepeatedHead(first).parse(HEADS[0], 200, other).repetition is None


def test_another_port_of_the_client_is_the_same_client():
    first = SharedHeads()
    for _ in range(2):
        RepeatedHead(first).parse(HEADS[0], 200, CLIENT)
    again = Peer(("127.0.0.1", 2), CLIENT.server, CLIENT.address)
    assert RepeatedHead(first).parse(HEADS[0], 200, again).repetition is not None


def test_a_connection_that_changes_between_hosts_repeats_its_heads():
    repeated = RepeatedHead(SharedHeads())
    heads = [b"GET /%d HTTP/1.1\r\nHost: %d.test" % (number, number) for number in range(3)]
    assert [repeated.parse(head, 200, CLIENT).repetition for head in heads] == [None] * 3
    made = [repeated.parse(head, 200, CLIENT).repetition for head in heads]
    known = [repeated.parse(head, 200, CLIENT) for head in heads]
    assert [request.repetition for request in known] == made
    assert len(set(map(id, made)) - {id(None)}) == 3
    assert [dict(request.headers)[b"host"] for request in known] == [
        b"%d.test" % number for number in range(3)
    ]


def test_what_comes_once_takes_no_room():
    shared = SharedHeads()
    for number in range(MOST_SEEN + 1):
        RepeatedHead(shared).parse(b"GET / HTTP/1.1\r\n%b\r\nX: %d" % (A, number), 200, CLIENT)
    assert not shared


def test_heads_are_kept_up_to_a_size():
    shared = SharedHeads()
    for number in range(ROOM // EACH):
        head = b"GET / HTTP/1.1\r\n%b\r\nX: %d" % (A, number)
        for _ in range(2):
            RepeatedHead(shared).parse(head, 200, CLIENT)
        assert sum(size_of(each.repetition.headers) for each in shared.values()) <= ROOM
    assert len(shared) < number  # they were forgotten in between
    shared.clear()
    for _ in range(3):
        RepeatedHead(shared).parse(
            b"GET / HTTP/1.1\r\n%b\r\nX: %b" % (A, b"x" * LONGEST), 200, CLIENT
        )
    assert not shared


@pytest.mark.parametrize(("more", "kept"), [(0, True), (1, False)])
def test_nothing_is_kept_of_many_fields(more, kept):
    """An idle connection whose client had sent 190 of them took 33 KiB."""
    fields = A + b"\r\nX: 1" * (MOST_FIELDS - 2 + more)
    assert len(fields) < LONGEST
    shared = SharedHeads()
    repeated = RepeatedHead(shared)
    for _ in range(5):
        head = repeated.parse(b"GET / HTTP/1.1\r\n" + fields, 200, CLIENT)
        repeated.parse(HEADS[0], 200, CLIENT)  # the next is no repetition
    assert len(head.headers) == MOST_FIELDS + more
    assert (head.repetition is not None, len(shared)) == (kept, 1 + kept)
    first, second = (repeated.parse(b"GET / HTTP/1.1\r\n" + fields, 200, CLIENT) for _ in range(2))
    assert (first is second) == kept


def test_heads_that_all_differ_are_seldom_looked_for():
    shared, looks = SharedHeads(), 0
    repeated = RepeatedHead(shared)
    for number in range(640):
        before = len(shared._seen)
        repeated.parse(b"GET / HTTP/1.1\r\n%b\r\nX: %d" % (A, number), 200, CLIENT)
        looks += len(shared._seen) - before
    assert looks == 80
