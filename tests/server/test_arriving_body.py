"""A request's body as it arrives: in parts, which are joined only where they are small."""

from __future__ import annotations

from typing import Any

import pytest

from app.server.arriving_body import LARGE_PART
from app.server.scope import EXCHANGE
from tests.server.serving import answer, serving

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        pytest.param([LARGE_PART, 16384, 1], [LARGE_PART, 16384, 1], id="large ones stay apart"),
        pytest.param([1] * 100, [100], id="small ones are joined"),
        pytest.param([7], [7], id="one"),
        pytest.param([], [], id="none"),
    ],
)
async def test_its_parts(sizes: list[int], taken: list[int]) -> None:
    found = None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal found
        exchange = scope["extensions"][EXCHANGE]
        for size in sizes:
            exchange.feed(bytes(size))
        found = [len(part) for part in exchange.take_body()], exchange.unread
        await answer(send, b"")

    async with serving(app) as served:
        await served.talk(HEAD)
    assert found == (taken, 0)
