"""Workers of one proxy that tell each other what they read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import FrontendNotFound
from app.routing import Mark
from app.stores import driver_for, open_store
from app.stores.cache.cached_store import CachedStore
from app.stores.cache.read_board import PLACE, PLACES, ReadBoard, Shared
from app.stores.cache.reads import ReadPlan
from app.stores.cache.sibling_reads import WAIT, SiblingReads
from tests.stores.cache.scripted_store import ScriptedStore

HOST = "a.example"
Worker = Callable[[], Awaitable[CachedStore]]


class Clock:
    """Seconds that pass with each look, so that no two events are at the same time."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def worker(tmp_path: Path, clock: Clock) -> AsyncIterator[Worker]:
    """Makes one more worker, with a store of its own that says the same."""
    async with AsyncExitStack() as stack:

        async def make() -> CachedStore:
            scripted = ScriptedStore()
            scripted.lists = {HOST: "http://a:1"}
            plan = ReadPlan(siblings=SiblingReads(tmp_path, "store", clock))
            cache = CachedStore(scripted, plan=plan)  # type: ignore[arg-type]
            stack.push_async_callback(cache.aclose)
            stack.callback(scripted.open.set)
            await cache.start()
            return cache

        yield make


async def url_of(store: CachedStore, host: str = HOST) -> str:
    return (await store.find(host)).frontend.backends[0].url


def reads(*workers: CachedStore) -> list[int]:
    return [each.store.reads for each in workers]  # type: ignore[attr-defined]


async def test_a_host_is_read_by_one_worker_for_all(worker):
    one, other, third = await worker(), await worker(), await worker()
    assert {await url_of(each) for each in (one, other, third)} == {"http://a:1"}
    assert reads(one, other, third) == [1, 0, 0]
    assert other.known(HOST) is not None


async def test_a_host_that_does_not_exist_is_looked_for_by_one_worker(worker):
    one, other = await worker(), await worker()
    for each in (one, other):
        with pytest.raises(FrontendNotFound):
            await each.find("b.example")
    assert reads(one, other) == [1, 0]


async def test_a_read_under_way_is_waited_for(worker):
    one, other = await worker(), await worker()
    one.store.open.clear()
    both = [asyncio.create_task(url_of(each)) for each in (one, other)]
    await one.store.asked.wait()
    assert not other.store.asked.is_set()
    one.store.open.set()
    assert await asyncio.gather(*both) == ["http://a:1"] * 2
    assert reads(one, other) == [1, 0]


async def test_a_sibling_that_hangs_is_not_waited_for_for_long(worker, clock):
    one, other = await worker(), await worker()
    one.store.open.clear()
    hanging = asyncio.create_task(url_of(one))
    await one.store.asked.wait()
    asking = asyncio.create_task(url_of(other))
    while not asking.done():
        clock.now += WAIT
        await asyncio.sleep(0)
    assert await asking == "http://a:1"
    assert reads(one, other) == [1, 1]
    one.store.open.set()
    await hanging


async def test_a_read_that_failed_is_not_waited_for(worker):
    one, other = await worker(), await worker()
    one.store.away = True
    with pytest.raises(Exception, match="away"):
        await one.find(HOST)
    assert await url_of(other) == "http://a:1"


@pytest.mark.parametrize("tell", [
    pytest.param(lambda store: store.frontend_changed(HOST), id="its list"),
    pytest.param(lambda store: store.frontend_changed("*.example"), id="a wildcard's list"),
    pytest.param(lambda store: store.paths_changed(HOST), id="its prefixes"),
    pytest.param(lambda store: store.marks_changed(HOST), id="its marks"),
    pytest.param(lambda store: store.everything_changed(), id="all"),
    pytest.param(lambda store: (store.lost("x"), store.tracking()), id="perhaps anything"),
])  # fmt: skip
async def test_what_was_read_before_a_change_is_not_believed_after_it(worker, tell):
    one, other = await worker(), await worker()
    await url_of(one)
    other.store.lists[HOST] = "http://b:2"
    tell(other)  # the other worker is told first
    assert await url_of(other) == "http://b:2"
    assert reads(one, other) == [1, 1]


async def test_a_change_of_another_host_does_not_matter(worker):
    one, other = await worker(), await worker()
    await url_of(one)
    other.frontend_changed("b.example")
    await url_of(other)
    assert reads(one, other) == [1, 0]


async def test_what_was_read_before_a_worker_was_told_of_changes_it_does_not_believe(worker):
    one, other = await worker(), await worker()
    await url_of(one)
    await url_of(other)  # so that each knows of the other
    one.frontend_changed(HOST)
    await url_of(one)
    late = await worker()
    assert await url_of(late) == "http://a:1"
    assert reads(one, late) == [2, 1]


async def test_without_reports_of_changes_a_worker_reads_for_itself(worker):
    one, other = await worker(), await worker()
    other.lost("no tracking")
    await url_of(one)
    await url_of(other)
    assert reads(one, other) == [1, 1]


async def test_a_change_while_a_sibling_reads(worker):
    one, other = await worker(), await worker()
    one.store.open.clear()
    both = [asyncio.create_task(url_of(each)) for each in (one, other)]
    await one.store.asked.wait()
    for each in (one, other):
        each.store.lists[HOST] = "http://b:2"
        each.frontend_changed(HOST)
    one.store.open.set()
    await asyncio.gather(*both)
    assert [await url_of(each) for each in (one, other)] == ["http://b:2"] * 2


async def test_marks_are_not_shared(worker):
    one, other = await worker(), await worker()
    for each in (one, other):
        each.store.marked[HOST] = {"http://a:1": Mark(2e9, 1e9, "refused", "me")}
    assert [len((await each.find(HOST)).marks) for each in (one, other)] == [1, 1]
    assert reads(one, other) == [1, 1]


async def test_the_file_of_a_worker_that_was_killed_is_removed(worker, tmp_path, clock):
    one = await worker()
    name = one._reads._siblings._start
    killed = ReadBoard(tmp_path / f"{name}1", create=True)
    await url_of(one)
    killed.close()  # as the kernel does
    clock.now += 2
    one.everything_changed()
    await url_of(one)
    assert not killed.path.exists()
    assert len([*tmp_path.iterdir()]) == 1


async def test_more_changes_than_are_remembered(worker, monkeypatch):
    monkeypatch.setattr("app.stores.cache.sibling_reads.MOST_HEARD", 2)
    one, other = await worker(), await worker()
    await url_of(one)
    for number in range(3):
        other.frontend_changed(f"{number}.example")
    await url_of(other)
    assert reads(one, other) == [1, 1]


def test_half_a_place_is_none(tmp_path):
    written = ReadBoard(tmp_path / "one", create=True)
    read = ReadBoard(tmp_path / "one")
    written.put(HOST, 5.0, b"text")
    assert read.get(HOST) == Shared(5.0, b"text")
    assert read.get("b.example") is None
    start = written._memory.find(HOST.encode())
    written._memory[start + len(HOST) + 1 : start + len(HOST) + 2] = b"!"
    assert read.get(HOST) is None
    written.put(HOST, 5.0, None)
    assert read.get(HOST) == Shared(5.0, None)
    written.put(HOST, 6.0, b"x" * PLACE)
    assert read.get(HOST) is None
    assert written.path.stat().st_size == PLACE * PLACES
    read.close()
    written.remove()
    assert not written.path.exists()


@pytest.mark.parametrize(("url", "one"), [
    ("redis://127.0.0.1:6379", True), ("unix:///run/redis.sock", True), ("embedded:", True),
    ("redis+sentinel://127.0.0.1:26379/main", False), ("redis+cluster://127.0.0.1:7000", False),
    ("file:routes.toml", False),
])  # fmt: skip
def test_only_one_server_tells_all_workers_the_same(url, one):
    assert driver_for([url]).one_server is one


async def test_where_no_place_can_be_made_each_worker_reads_for_itself(tmp_path, caplog):
    store = open_store(Config(server=ServerConfig(snapshot=None)), tmp_path / "missing")
    assert "each worker reads routes for itself" in caplog.text
    await store.aclose()
