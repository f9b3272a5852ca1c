"""Blocks of pages and their sums, read in one piece and taken apart where somebody looks."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from app.metrics.blocks import BlockIndex, PageBlocks, StoredBlocks, SummedBlocks
from app.metrics.folder import Folder
from app.metrics.page import Page, read_file


def blocks(**cells: list[float]) -> StoredBlocks:
    return StoredBlocks({name: array("d", each).tobytes() for name, each in cells.items()})


def set_block(page: Page, name: str, value: float) -> None:
    cells = page.block(name, 2)
    assert cells is not None
    cells[0] = value


def changed(after: SummedBlocks, before: SummedBlocks) -> set[str]:
    return {name for name in after.differing(before) if name is not None}


def test_blocks_of_the_same_name_are_summed_and_named_once() -> None:
    summed = SummedBlocks([blocks(a=[1, 2], b=[3]), blocks(a=[10, 20], c=[4])])
    assert {name: cells.tolist() for name, cells in summed.items()} == {
        "a": [11, 22], "b": [3], "c": [4],
    }  # fmt: skip
    assert list(summed) == ["a", "b", "c"]
    assert (len(summed), "c" in summed, "d" in summed, summed.get("d")) == (3, True, False, None)


def test_names_of_a_kind_are_found_in_pages_and_in_what_is_kept() -> None:
    page = Page({"pid": 1})
    set_block(page, "f\0a.test", 1)
    set_block(page, "b\0a.test\0http://x", 1)
    kept = StoredBlocks({"f\0b.test": b"", "f\0a.test": b"", "c\0retries": b""})
    summed = SummedBlocks([page.read().blocks, kept])
    assert list(summed.of_kind("f")) == ["f\0a.test", "f\0b.test"]
    assert list(summed.of_kind("b")) == ["b\0a.test\0http://x"]


async def test_a_page_that_grew_is_read_on_where_it_was_left(tmp_path: Path) -> None:
    page, index = Page({"pid": 7}, tmp_path / "1.page"), BlockIndex()
    set_block(page, "f\0a.test", 1)
    first = await content(tmp_path, index)
    set_block(page, "f\0b.test", 2)
    second = await content(tmp_path, index)
    assert (dict(first), list(second)) == (
        {"f\0a.test": array("d", [1, 0])}, ["f\0a.test", "f\0b.test"],
    )  # fmt: skip
    assert "f\0b.test" not in first
    with pytest.raises(KeyError):
        first["f\0b.test"]
    assert changed(SummedBlocks([second]), SummedBlocks([first])) == {"f\0b.test"}
    page.close()


async def content(folder: Path, index: BlockIndex) -> PageBlocks:
    found = await read_file(folder / "1.page", index)
    assert found is not None
    assert found[0].info == {"pid": 7}
    return found[0].blocks


async def test_only_what_moved_differs_and_what_an_ended_worker_left_is_looked_at(tmp_path: Path):
    folder = Folder(tmp_path)
    pages = [folder.new_page({"pid": number}) for number in (1, 2)]
    for page in pages:
        set_block(page, "f\0a.test", 1)
        set_block(page, "f\0b.test", 1)
    before = (await folder.sum()).blocks
    assert changed((await folder.sum()).blocks, before) == set()
    pages[0]._cells[0] += 1
    after = (await folder.sum()).blocks
    assert changed(after, before) == {"f\0a.test"}
    pages[1].close()
    last = (await folder.sum()).blocks
    assert {"f\0a.test", "f\0b.test"} <= changed(last, after)
    assert [last[name].tolist() for name in ("f\0a.test", "f\0b.test")] == [[3, 0], [2, 0]]
    pages[0].close()
