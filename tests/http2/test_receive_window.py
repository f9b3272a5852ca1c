"""A window that has lost something is made whole, as long as it can be."""

from __future__ import annotations

import pytest

from app.http2.engine import MAX_WINDOW, make_client_engine, room_for
from app.http2.receive_window import ReceiveWindow

STREAMS = 8
FULL = room_for(STREAMS)


@pytest.mark.parametrize(
    ("window", "unread", "room"),
    [
        pytest.param(FULL, 0, FULL, id="nothing is lost"),
        pytest.param(2 * FULL, 0, FULL, id="half"),
        pytest.param(4 * FULL, FULL, FULL, id="what is unread comes back by itself"),
        pytest.param(4 * FULL, 0, 7 * FULL, id="most of it"),
    ],
)
def test_what_is_lost_comes_back(window: int, unread: int, room: int) -> None:
    engine = make_client_engine(STREAMS, head=1000)
    assert ReceiveWindow(window).refill(engine, unread)
    assert engine.local_window_size == room


def test_a_window_has_a_largest_size() -> None:
    engine = make_client_engine(STREAMS, head=1000)
    assert not ReceiveWindow(MAX_WINDOW).refill(engine, 0)
    assert engine.local_window_size == FULL
