"""How a request hears that its turn has come."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import UpstreamBusy
from app.upstream.waiting import Waiter, WaitingLine


def test_who_waits_is_called_once_when_its_turn_comes() -> None:
    waiter, calls = Waiter(0, 1, None), []
    waiter.when_done(lambda: calls.append(waiter.done))
    assert calls == []
    waiter.give(None)
    assert calls == [True]


def test_who_comes_late_is_called_at_once() -> None:
    waiter, calls = Waiter(0, 1, None), []
    waiter.refuse(UpstreamBusy())
    waiter.when_done(lambda: calls.append(waiter.error))
    assert calls == [waiter.error]


def test_who_waits_no_more_is_not_called() -> None:
    waiter, calls = Waiter(0, 1, None), []
    waiter.when_done(lambda: calls.append(1))
    waiter.when_done(None)
    waiter.give(None)
    assert calls == []


async def test_a_task_waits_for_its_turn_or_its_refusal() -> None:
    line = WaitingLine()
    waiters = [Waiter(0, 1, None), Waiter(0, 2, None)]
    line.front.extend(waiters)
    tasks = [asyncio.create_task(waiter.wait()) for waiter in waiters]
    await asyncio.sleep(0)
    line.drop_overdue(1)
    waiters[1].give(None)
    assert await tasks[1] is None
    with pytest.raises(UpstreamBusy):
        await tasks[0]
    with pytest.raises(UpstreamBusy):
        await waiters[0].wait()


async def test_a_turn_that_comes_to_a_cancelled_task_is_not_lost() -> None:
    waiter = Waiter(0, 1, None)
    task = asyncio.create_task(waiter.wait())
    await asyncio.sleep(0)
    task.cancel()
    waiter.give(None)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiter.done
