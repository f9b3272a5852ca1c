"""Long calculations beside other tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator

import pytest

from app.system import turns
from app.system.turns import in_turns, next_turn, run_at_once, run_in_turns


@pytest.fixture(autouse=True)
def spent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BUDGET", -1.0)
    monkeypatch.setattr(turns, "SHARE", -1.0)


class Rounds:
    """Counts how often the loop comes round."""

    def __init__(self) -> None:
        self.number = 0
        self._handle = asyncio.get_running_loop().call_soon(self._again)

    def _again(self) -> None:
        self.number += 1
        self._handle = asyncio.get_running_loop().call_soon(self._again)

    def end(self) -> None:
        self._handle.cancel()


async def test_one_of_many_calculations_runs_when_the_loop_comes_round() -> None:
    rounds, seen = Rounds(), list[int]()

    async def calculation() -> None:
        await next_turn()
        async for _ in in_turns(range(5)):
            seen.append(rounds.number)

    await asyncio.gather(*(calculation() for _ in range(10)))
    rounds.end()
    assert len(seen) == len(set(seen)) == 50


async def test_in_a_busy_loop_a_calculation_gets_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(turns, "BUDGET", 0.0001)
    monkeypatch.setattr(turns, "SHARE", 0.25)
    monkeypatch.setattr(turns, "perf_counter", lambda: now)
    turn = asyncio.ensure_future(next_turn())
    await asyncio.sleep(0)
    now = 0.004  # that is what others took meanwhile
    assert await turn == pytest.approx(0.001)
    assert await next_turn() == 0.0001  # nobody took anything
    turn = asyncio.ensure_future(next_turn())
    await asyncio.sleep(0)
    now = 1.0
    assert await turn == turns.LONGEST


async def test_a_cancelled_calculation_holds_nobody_up() -> None:
    tasks = [asyncio.ensure_future(next_turn()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    done, _ = await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert len(done) == 3


async def test_a_generator_runs_to_its_end() -> None:
    rounds = Rounds()

    def steps() -> Generator[None, None, str]:
        for _ in range(3):
            yield
        return "whole"

    assert await run_in_turns(steps()) == "whole"
    rounds.end()
    assert rounds.number >= 3


def test_each_loop_has_turns_of_its_own() -> None:
    async def left_behind() -> None:
        asyncio.get_running_loop().create_task(next_turn())
        await asyncio.sleep(0)

    async def whole(items: Iterator[int]) -> list[int]:
        return [each async for each in in_turns(items)]

    asyncio.run(left_behind())
    assert asyncio.run(whole(iter(range(3)))) == [0, 1, 2]


def test_at_once_it_gives_the_same() -> None:
    def steps() -> Generator[None, None, str]:
        yield
        yield
        return "done"

    assert run_at_once(steps()) == "done"
