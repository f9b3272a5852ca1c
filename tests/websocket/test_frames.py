"""The frame tracker against frames that the websockets library writes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from app.websocket.frames import FrameTracker, sendable, small_frame

frames = st.builds(
    Frame,
    opcode=st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]),
    data=st.one_of(
        st.binary(max_size=140), st.sampled_from([65535, 65536]).map(lambda size: b"x" * size)
    ),
    fin=st.booleans(),
)


def split(data: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    stream=st.lists(frames, max_size=5),
    mask=st.booleans(),
    at=st.lists(st.integers(0, 10**6), max_size=8),
)
def test_boundaries_are_the_same_however_the_bytes_arrive(
    stream: list[Frame], mask: bool, at: list[int]
) -> None:
    raw = [frame.serialize(mask=mask) for frame in stream]
    boundaries = {sum(map(len, raw[:count])) for count in range(len(raw) + 1)}
    tracker = FrameTracker()
    for chunk in split(b"".join(raw), at):
        tracker.feed(chunk)
        assert tracker.at_boundary == (tracker.size in boundaries)
    assert tracker.messages == sum(frame.fin for frame in stream)


@given(frame=frames, mask=st.booleans(), seen=st.integers(1, 200), tail=st.binary(max_size=20))
def test_cut_finds_the_end_of_the_frame_under_way(
    frame: Frame, mask: bool, seen: int, tail: bytes
) -> None:
    raw = frame.serialize(mask=mask)
    seen = min(seen, len(raw))
    tracker = FrameTracker()
    tracker.feed(raw[:seen])
    assert tracker.bytes_to_boundary(raw[seen:] + tail) == len(raw) - seen


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("code", [1000, 1001, 1012, 3000, 4999])
def test_the_code_of_a_close_frame_is_read_byte_by_byte(code: int, mask: bool) -> None:
    tracker = FrameTracker()
    raw = Frame(Opcode.CLOSE, Close(code, "bye").serialize()).serialize(mask=mask)
    for i, byte in enumerate(raw):
        assert tracker.close_code is None
        tracker.feed(bytes([byte]))
        assert tracker.at_boundary == (i == len(raw) - 1)
    assert tracker.close_code == code


def test_a_close_frame_without_a_code_counts_as_1005() -> None:
    tracker = FrameTracker()
    tracker.feed(Frame(Opcode.CLOSE, b"").serialize(mask=True))
    assert tracker.close_code == 1005


def test_pings_are_not_messages() -> None:
    tracker = FrameTracker()
    tracker.feed(Frame(Opcode.PING, b"x").serialize(mask=True))
    assert (tracker.messages, tracker.at_boundary) == (0, True)


@given(data=st.binary(max_size=125), fin=st.booleans(), mask=st.booleans())
def test_a_small_frame_is_the_librarys(data: bytes, fin: bool, mask: bool) -> None:
    theirs = Frame(Opcode.BINARY, data, fin).serialize(mask=mask)
    key = theirs[2:6] if mask else b""
    assert small_frame(fin << 7 | Opcode.BINARY, data, key) == theirs


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_break_the_tracker(chunks: list[bytes]) -> None:
    tracker = FrameTracker()
    for chunk in chunks:
        tracker.bytes_to_boundary(chunk)
        tracker.feed(chunk)
    assert tracker.size == sum(map(len, chunks))


@pytest.mark.parametrize("code", [None, *range(900, 1100), 2999, 3000, 4999, 5000, 65535])
def test_what_is_sent_is_always_a_code_that_may_be_sent(code: int | None) -> None:
    Close(sendable(code), "").serialize()  # refuses reserved and unknown codes
