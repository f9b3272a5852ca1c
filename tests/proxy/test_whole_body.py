"""Small bodies that come at once."""

from __future__ import annotations

import pytest

from app.config.structs import ServerConfig
from app.proxy.client_memory import ClientMemory
from app.proxy.whole_body import SMALL, WholeBody
from app.system.held_memory import HeldMemory

TRAILERS = [(b"x-sum", b"1")]


@pytest.mark.parametrize(("hold", "again"), [(3, True), (2, False), (0, False)])
def test_it_is_sent_again_as_far_as_it_may_be_held(hold: int, again: bool) -> None:
    body = WholeBody(b"abc", TRAILERS, hold=hold)
    assert (body.complete, body.replayable, body.size, body.trailers) == (True, True, 0, TRAILERS)
    assert body.begin() == b"abc"
    assert body.size == 3
    assert body.replayable is again
    if again:
        assert body.begin() == b"abc"
        body.drop()
        assert not body.replayable
    with pytest.raises(RuntimeError, match="not held"):
        body.begin()


async def test_nothing_comes_behind_it() -> None:
    assert [parts async for parts in WholeBody(b"abc", (), hold=0).rest()] == []
    assert [data async for data in WholeBody(b"abc", (), hold=0)] == [b"abc"]


@pytest.mark.parametrize(
    ("limit", "small"), [(0, SMALL), (32 << 20, SMALL), (1 << 20, 64), (400, 0)]
)
def test_what_is_small_depends_on_what_a_worker_may_hold(limit: int, small: int) -> None:
    assert ClientMemory(ServerConfig(), HeldMemory(limit)).small == small
