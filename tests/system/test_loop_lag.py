"""How late the event loop is, measured on a loop that really stalls."""

import asyncio
import time

from app.system.loop_lag import LoopLag


def stall(seconds: float) -> None:
    time.sleep(seconds)


async def looks(lag: LoopLag, count: int) -> None:
    """Until the lag was measured so many times: each look plans the next one."""
    for _ in range(count):
        looked = asyncio.Event()
        asyncio.get_running_loop().call_at(lag.due + 1e-6, looked.set)
        await looked.wait()


async def test_a_stall_is_seen_and_not_forgotten_at_once():
    with LoopLag(interval=0.01) as lag:
        stall(0.2)
        await looks(lag, 2)
        assert lag.peak >= 0.15
        assert lag.take_worst() >= 0.15
        assert lag.take_worst() < 0.15


async def test_a_stall_that_is_over_fades():
    with LoopLag(interval=0.01) as lag:
        stall(0.2)
        await looks(lag, 1)
        before = lag.peak
        await looks(lag, 20)
        assert lag.peak < before


async def test_it_ends_with_its_block():
    with LoopLag(interval=0.001) as lag:
        pass
    stall(0.02)
    await looks(lag, 1)
    assert lag.peak == 0
