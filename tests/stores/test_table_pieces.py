"""Tables of any size, some frontends at a time."""

from __future__ import annotations

import asyncio
import random

import pytest

from app.stores import driver_for
from app.stores.key_pattern import EVERY_KEY, KeyPattern
from app.stores.sorted_keys import SortedKeys
from app.stores.table import Entry, Table, TableError, by_domain
from app.stores.table_pieces import KEYS_AT_ONCE, all_keys, first_keys, page_of, read_pieces
from tests.redis_servers import RedisServer

ONE = Entry("id", ("http://127.0.0.1:1",))
MANY = [f"www{number}.shop{number % 7}.test" for number in range(2_500)]


@pytest.mark.parametrize(
    ("written", "matching", "not_matching"),
    [
        pytest.param("a.test", ["a.test", "a.test/api"], ["b.a.test"], id="a beginning"),
        pytest.param("*.a.test", ["b.a.test", "*.a.test"], ["a.test", "b.a.test/x"], id="an end"),
        pytest.param("w*.t*", ["www.test", "w.t\nx"], ["www", "a.w.test"], id="both"),
        pytest.param("a[bc]?", ["a[bc]?d"], ["abx", "ab", "a[bc]d"], id="nothing else is special"),
    ],
)
def test_what_a_pattern_means(written: str, matching: list[str], not_matching: list[str]) -> None:
    regex = KeyPattern.written(written).regex()
    assert [key for key in matching + not_matching if regex.fullmatch(key)] == matching


@pytest.mark.parametrize("count", [0, 1, 4_007])
def test_keys_are_sorted_on_the_disk_and_come_once(count: int) -> None:
    keys = [f"host{number}.zone{number % 3}.test" for number in range(count)]
    with SortedKeys(by_domain, at_once=1_500) as sorting:
        for piece in (keys[: count // 2], keys[count // 3 :]):
            sorting.add(random.sample(piece, len(piece)))
        assert list(sorting) == sorted(keys, key=by_domain)
        assert list(sorting) == sorted(keys, key=by_domain)  # once more, for another walk


@pytest.mark.parametrize("kind", ["redis", "file"])
async def test_a_page_is_found_without_a_look_at_all(
    kind: str, valkey: RedisServer, tmp_path: object
) -> None:
    driver = f"{valkey.url}#p[1]*:" if kind == "redis" else f"file:{tmp_path}/routes.json"
    table = driver_for((driver,)).table()
    new: Table = dict.fromkeys(MANY, ONE)
    await table.change(MANY, lambda before: new)
    shop = KeyPattern.written("*.shop3.test")
    ours = [key for key in MANY if key.endswith(".shop3.test")]
    assert {key async for some in all_keys(table, shop) for key in some} == set(ours)
    for matching, wanted in ((shop, ours), (EVERY_KEY, MANY)):
        found, place, pages = list[str](), "", 0
        while place or not pages:
            page = await page_of(table, matching, 100, place)
            assert len(page.keys) <= 100
            found, place, pages = found + page.keys, page.following, pages + 1
        assert sorted(set(found)) == sorted(wanted)
        assert pages <= len(wanted) // 100 + 2
    first = await first_keys(table, shop, 5, after=sorted(ours)[2])
    assert first.keys == sorted(ours)[3:8]
    read = [piece async for piece in read_pieces(table, ["nothing.test", *sorted(ours)])]
    assert [key for piece in read for key in piece] == sorted(ours)
    await table.aclose()


class AllAtOnce:
    """As a file gives its keys."""

    async def scan(self, cursor: int, matching: KeyPattern) -> tuple[int, list[str]]:
        return 0, MANY


async def test_other_tasks_run_while_many_keys_are_put_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.system.turns.BUDGET", 0.0)
    monkeypatch.setattr("app.system.turns.SHARE", 0.0)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    first = await first_keys(AllAtOnce(), EVERY_KEY, 3)
    task.cancel()
    assert first == (sorted(MANY)[:3], len(MANY))
    assert turns >= len(MANY) // KEYS_AT_ONCE


async def test_no_place_in_a_table_is_one_line(valkey: RedisServer) -> None:
    table = driver_for((valkey.url,)).table()
    for place in ("www", "1", "-1,", ",a"):
        with pytest.raises(TableError, match="is no place in the table"):
            await page_of(table, EVERY_KEY, 10, place)
    await table.aclose()
