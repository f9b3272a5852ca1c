"""What a request adds to the page of its worker, and what a page keeps of a writer that died."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.logs.record import AccessRecord
from app.metrics import counters as module
from app.metrics.blocks import BlockIndex
from app.metrics.counters import Counters
from app.metrics.families import BYTES_OUT, DURATION, HEAD, OTHER
from app.metrics.page import ENTRY, RING, Page, read_file

BOUNDS = (0.1, 1.0)


URL = "http://10.0.0.1"
Ended = tuple[AccessRecord, bytes, bytes]


def request(key: str | None, status: int = 200, method: str = "GET", **record: object) -> Ended:
    """What `Counters.ended` is told of a request at frontend `key`."""
    ended = AccessRecord(1.0, status=status, **record)  # type: ignore[arg-type]
    if key is not None:
        ended.frontend, ended.backend = key, URL
    return ended, method.encode(), b"h"


@pytest.fixture
def page() -> Page:
    return Page({"pid": 1})


def test_a_request_counts_once_in_every_table(page):
    counters = Counters(page, BOUNDS)
    counters.ended(*request("a.test", bytes_out=10, total_time=0.5, head_time=0.05))
    counters.ended(*request("a.test", 404, "POST", bytes_out=5, total_time=2.0, head_time=0.3))
    blocks = page.read().blocks
    cells = blocks["f\0a.test"].tolist()
    assert [i for i, n in enumerate(cells[:BYTES_OUT]) if n] == [4, 9]
    assert cells[BYTES_OUT:] == [15, 2.5, 0, 1, 1]
    assert blocks["b\0a.test\0http://10.0.0.1"].tolist() == [0, 0, 0, 0.35, 1, 1, 0]


def test_a_status_of_no_class_stays_in_its_cells(page):
    counters = Counters(page, BOUNDS)
    for status in (0, 99, 600, 999):
        counters.ended(*request("a.test", status))
    assert page.read().blocks["f\0a.test"].tolist()[:BYTES_OUT] == [4.0] + 12 * [0.0]


def test_who_comes_late_counts_with_the_others(page, monkeypatch):
    monkeypatch.setattr(module, "MAX_FRONTENDS", 1)
    monkeypatch.setattr(module, "MAX_BACKENDS", 1)
    counters = Counters(page, BOUNDS)
    for key in ("a.test", "b.test", OTHER, "c.test"):
        counters.ended(*request(key, head_time=0.0))
    blocks = page.read().blocks
    assert sum(blocks["f\0a.test"][DURATION:]) == 1
    assert sum(blocks["f\0other"][DURATION:]) == 3
    assert sum(blocks["b\0other\0"][HEAD:]) == 3
    assert len(blocks) == 4


def test_a_full_page_is_no_failure(page):
    counters = Counters(page, BOUNDS)
    while page.block("x", 1000) is not None:
        pass
    while page.block("y" * 1000, 0) is not None:
        pass
    for number in range(100):
        counters.ended(*request(f"{number}.test", head_time=0.1))
    cells = page.read().blocks
    assert sum(sum(c[DURATION + 1 :]) for n, c in cells.items() if n.startswith("f\0")) == 100


def test_the_latest_failures_are_told(page):
    counters = Counters(page, BOUNDS)
    for number in range(RING + 3):
        counters.ended(*request("a.test", 502, error=f"refused {number}"))
    counters.ended(*request("a.test", 499, error="client left"))
    told = [json.loads(text) for text in page.read().texts]
    assert [entry["reason"] for entry in told] == [f"refused {n + 3}" for n in range(RING)]


def test_a_hostile_failure_fits_or_is_left_out(page):
    counters = Counters(page, BOUNDS)
    counters.ended(*request("a.test", 502, error="\0" * 1000))
    for text in page.read().texts:
        assert len(text) < ENTRY
        json.loads(text)


def test_what_a_writer_counted_outlives_it(tmp_path: Path):
    path = tmp_path / "1.page"
    page = Page({"pid": 7}, path)
    counters = Counters(page, BOUNDS)
    counters.count("retries", "refused", by=3)
    assert asyncio.run(read_file(path, BlockIndex()))[1] is True
    page.close()
    content, alive = asyncio.run(read_file(path, BlockIndex()))
    assert (alive, content.info, content.blocks["c\0retries\0refused"][0]) == (False, {"pid": 7}, 3)


def test_a_file_that_is_no_page_is_none(tmp_path: Path):
    (tmp_path / "x.page").write_bytes(b"hipache1")
    assert asyncio.run(read_file(tmp_path / "x.page", BlockIndex())) is None
    assert asyncio.run(read_file(tmp_path / "y.page", BlockIndex())) is None
