"""When it is looked who holds the connections; who loses one is in test_shares."""

from __future__ import annotations

import asyncio

from app.upstream.contention import Contention
from app.upstream.limits import PoolLimits
from app.upstream.waiting import WaitingLine


async def test_of_two_looks_the_earlier_counts_however_soon_it_is() -> None:
    """uvloop's handle of what is due within half a millisecond does not know when it is due."""
    loop = asyncio.get_running_loop()
    contention = Contention(
        ("http", "127.0.0.1", 1), PoolLimits(), set(), WaitingLine(),
        client_of=lambda asker: None, serve=lambda: None,
    )  # fmt: skip
    now = loop.time()
    contention._look_at(now + 60)
    contention._look_at(now)
    timer = contention._timer
    contention._look_at(now)
    contention._look_at(now + 60)
    assert contention._timer is timer is not None
    contention.stop()
    assert timer.cancelled()
