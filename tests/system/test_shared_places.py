"""Places that workers share: each has one holder, and a killed worker none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.system.shared_places import SharedPlaces, wait_no_more
from app.system.worker_team import WorkerTeam, joined_team
from tests.processes import ROOT

HOLDS_FOR_EVER = """
import sys
from pathlib import Path
from app.system.shared_places import SharedPlaces
from app.system.worker_team import WorkerTeam
places = SharedPlaces(WorkerTeam(Path(sys.argv[1])), "a", 2)
places.wait_since(1e9)
print(places.take(), places.take(), places.take(), flush=True)
sys.stdin.read()
"""


@contextmanager
def members(folder: Path, count: int) -> Iterator[list[WorkerTeam]]:
    teams = [WorkerTeam(folder) for _ in range(count)]
    try:
        yield teams
    finally:
        for team in teams:
            team.close()


async def test_a_place_has_one_holder(tmp_path: Path) -> None:
    with members(tmp_path, 3) as teams:
        assert [team.number for team in teams] == [1, 2, 3]
        one, two, three = (SharedPlaces(team, "a", 2) for team in teams)
        assert [one.take(), two.take(), three.take(), one.take()] == [True, True, False, False]
        assert not one.any_free
        one.give_back()
        assert (one.held, three.take(), two.held) == (0, True, 1)
        other = SharedPlaces(teams[0], "b", 1)
        assert other.take()
        for places in (one, two, three, other):
            places.close()
    assert os.listdir(tmp_path) == ["team"]


async def test_who_waits_is_told(tmp_path: Path) -> None:
    with members(tmp_path, 2) as teams:
        one, two = (SharedPlaces(team, "a", 1) for team in teams)
        told = asyncio.Queue[tuple[int, bytes]]()
        for number, team in enumerate(teams):
            team.start()
            team.hear(b"a", lambda rest, number=number: told.put_nowait((number, rest)))
        now = asyncio.get_running_loop().time()
        assert one.take()
        assert not two.take()
        assert two.wait_since(now)
        assert not two.wait_since(now)
        two.tell_holders(b"a")
        assert await told.get() == (0, b"")
        assert one.others_wait_since(5.0) == now
        assert two.others_wait_since(5.0) is None
        assert one.others_wait_since(-60.0) is None  # so long that it must be held up
        one.give_back()
        one.tell_waiting(b"a")
        assert await told.get() == (1, b"")
        one.close()
        two.close()


@pytest.mark.parametrize("by", ["looking", "taking its number", "taking its number elsewhere"])
async def test_a_killed_worker_holds_nothing_and_waits_for_nothing(by: str, tmp_path: Path) -> None:
    with members(tmp_path, 1) as [ours]:
        places = SharedPlaces(ours, "a", 2)
        killed = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", HOLDS_FOR_EVER, str(tmp_path)], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with killed:
            assert killed.stdout is not None
            assert killed.stdout.readline() == b"True True False\n"
            assert not places.take()
            places.take_from_dead()
            assert not places.take()
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        assert places.others_wait_since(float("inf")) == 1e9
        if by == "looking":
            places.tell_waiting(b"a")
            places.take_from_dead()
        else:
            with members(tmp_path, 1) as [heir]:
                assert heir.number == 2
                if by == "taking its number":
                    SharedPlaces(heir, "a", 2).close()
                else:
                    wait_no_more(heir, b"a")
                    places.take_from_dead()
        assert places.others_wait_since(float("inf")) is None
        assert (places.take(), places.take(), places.take()) == (True, True, False)
        places.close()


def test_a_worker_without_a_folder_counts_for_itself(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with joined_team(None, wanted=False) as team:
        assert team is None
    assert not caplog.messages
    for folder in (None, tmp_path / "gone"):
        with joined_team(folder, wanted=True) as team:
            assert team is None
        assert "this worker counts for itself" in caplog.messages[-1]
