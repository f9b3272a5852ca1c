"""The pages of several workers as one truth: nothing lost, nothing twice, nothing going back."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from app.metrics.counters import Counters
from app.metrics.families import OTHER
from app.metrics.folder import Folder
from app.metrics.page import Page, read_file
from app.metrics.shown import ShownNames, arranged, choose, requests


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def worker(folder: Folder, number: int) -> tuple[Page, Counters]:
    page = folder.new_page({"pid": number, "worker": number})
    return page, Counters(page, (1.0,))


async def retries(folder: Folder) -> float:
    return (await folder.sum()).blocks["c\0retries\0refused"][0]


async def test_what_dead_workers_counted_is_kept_once(folder):
    pages = []
    for number in range(3):
        page, counters = worker(folder, number)
        counters.count("retries", "refused", by=10)
        pages.append(page)
    assert await retries(folder) == 30
    pages[0].close()
    pages[1].close()
    assert [await retries(folder) for _ in range(3)] == [30, 30, 30]
    assert len(list(folder.path.glob("*.page"))) == 1


async def test_a_reader_that_comes_between_counts_neither_twice_nor_not_at_all(folder, monkeypatch):
    page, counters = worker(folder, 1)
    counters.count("retries", "refused", by=10)
    page.close()
    read_kept = folder._kept

    def folded_meanwhile():
        if not (folder.path / "kept").exists():
            monkeypatch.setattr(folder, "_kept", read_kept)
            with folder.locked():
                pass
            other = Folder(folder.path)
            sums.append(other.sum())
        return read_kept()

    sums = []
    monkeypatch.setattr(folder, "_kept", folded_meanwhile)
    assert await retries(folder) == 10
    assert (await sums[0]).blocks["c\0retries\0refused"][0] == 10
    assert await retries(folder) == 10


async def test_a_worker_that_ends_while_it_is_read_counts_once(folder, monkeypatch):
    page, counters = worker(folder, 1)
    counters.count("retries", "refused", by=10)

    async def read_while_it_ends(path, index):
        found = await read_file(path, index)
        monkeypatch.undo()
        page.close()
        assert await retries(Folder(folder.path)) == 10  # which folds its page
        return found

    monkeypatch.setattr("app.metrics.folder.read_file", read_while_it_ends)
    assert await retries(folder) == 10
    assert await retries(folder) == 10


async def test_while_another_changes_it_the_sum_is_the_same(folder):
    page, counters = worker(folder, 1)
    counters.count("retries", "refused")
    page.close()
    with folder.locked() as mine:
        assert mine
        assert await retries(folder) == 1
        assert not (folder.path / "kept").exists()
    assert await retries(folder) == 1
    assert (folder.path / "kept").exists()


async def test_states_end_with_their_worker(folder):
    page, counters = worker(folder, 1)
    counters.gauge("in_flight", 5)
    other, others = worker(folder, 2)
    others.gauge("in_flight", 2)
    assert (await folder.sum()).blocks["g\0in_flight"][0] == 7
    page.close()
    assert (await folder.sum()).blocks["g\0in_flight"][0] == 2
    assert other.path is not None


async def test_how_a_worker_ended_is_counted(folder):
    for drained in (True, False, False):
        page, counters = worker(folder, 1)
        if drained:
            counters.gauge("ended", 1)
        page.close()
        await folder.sum()
    blocks = (await folder.sum()).blocks
    assert (blocks["c\0exits\0drained"][0], blocks["c\0exits\0died"][0]) == (1, 2)


# Who is shown


def cells(count: float) -> array[float]:
    return array("d", [count, *([0.0] * 16)])


async def shown_of(
    every: dict[str, array[float]], chosen: ShownNames, limit: int
) -> dict[str, array[float]]:
    choose(every, {key: requests(each) for key, each in every.items()}, chosen, limit)
    return await arranged(every, chosen.bases)


def total(shown: dict[str, array[float]]) -> float:
    return sum(requests(values) for values in shown.values())


async def test_all_are_shown_while_there_is_room():
    shown = await shown_of({"a": cells(1), "b": cells(2)}, ShownNames(), limit=2)
    assert {key: requests(values) for key, values in shown.items() if values} == {"a": 1, "b": 2}


async def test_the_busiest_are_shown_and_the_rest_is_other():
    every = {key: cells(n) for n, key in enumerate("abcdef", start=1)} | {OTHER: cells(7)}
    shown = await shown_of(every, ShownNames(), limit=2)
    assert {key: requests(values) for key, values in shown.items()} == {"e": 5, "f": 6, OTHER: 17}


async def test_no_counter_goes_back_and_the_sum_stays_right():
    chosen = ShownNames()
    every = {"quiet": cells(10), "busy": cells(1)}
    before = await shown_of(every, chosen, limit=1)
    assert requests(before["quiet"]) == 10
    for count in (15, 21, 50, 60):
        every = {"quiet": cells(10), "busy": cells(count)}
        now = await shown_of(every, chosen, limit=1)
        assert total(now) == 10 + count
        for key in before.keys() & now.keys():
            assert requests(now[key]) >= requests(before[key]), key
        before = now
    assert {key: requests(values) for key, values in before.items()} == {"busy": 39, OTHER: 31}


async def test_a_frontend_keeps_its_place_against_one_that_is_hardly_busier():
    chosen = ShownNames()
    await shown_of({"a": cells(10)}, chosen, limit=1)
    shown = await shown_of({"a": cells(10), "b": cells(20)}, chosen, limit=1)
    assert set(shown) == {"a", OTHER}
