"""The queue of retries beyond the budget."""

from __future__ import annotations

import asyncio

from app.proxy.retry_queue import RetryBudget, RetryQueue


async def test_retries_over_the_budget_wait_in_order() -> None:
    queue = RetryQueue(5.0, lambda: 0)
    assert all([await queue.enter() for _ in range(3)])
    order: list[int] = []

    async def wait(number: int) -> None:
        assert await queue.enter()
        order.append(number)
        queue.leave()

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    queue.leave()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_a_retry_does_not_wait_for_ever() -> None:
    queue = RetryQueue(0.01, lambda: 0)
    assert all([await queue.enter() for _ in range(3)])
    assert not await queue.enter()


async def test_a_client_that_leaves_the_queue_takes_no_turn_along() -> None:
    queue = RetryQueue(5.0, lambda: 0)
    assert all([await queue.enter() for _ in range(3)])
    leaving = asyncio.create_task(queue.enter())
    await asyncio.sleep(0)
    queue.leave()
    leaving.cancel()  # in the same turn in which its turn came
    await asyncio.gather(leaving, return_exceptions=True)
    assert await queue.enter()


def test_a_small_worker_may_run_three_retries_at_once() -> None:
    budget = RetryBudget()
    assert [budget.take(in_flight=1) for _ in range(4)] == [True, True, True, False]
    budget.give_back()
    assert budget.take(in_flight=1)


def test_a_busy_worker_may_run_a_fifth_of_its_requests_as_retries() -> None:
    budget = RetryBudget()
    assert sum(budget.take(in_flight=1000) for _ in range(1000)) == 200
