"""The cache by itself, over a store that does exactly what the test says."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import FrontendNotFound, StoreUnavailable
from app.routing import NO_MARKS, Mark, parse_frontend
from app.stores.base import Found
from app.stores.cache.cached_store import CachedStore
from app.stores.cache.reads import ReadPlan
from app.stores.cache.route_cache import RouteCache
from tests.stores.cache.scripted_store import ScriptedStore


@pytest.fixture
async def store() -> AsyncIterator[CachedStore]:
    scripted = ScriptedStore()
    scripted.lists = {"a.example": "http://a:1"}
    cache = CachedStore(scripted, size=3)
    await cache.start()
    yield cache
    scripted.open.set()
    await cache.aclose()


async def url_of(store: CachedStore, host: str = "a.example") -> str:
    return (await store.find(host)).frontend.backends[0].url


async def in_flight(store: CachedStore, host: str = "a.example") -> "asyncio.Task[str]":
    """A request whose read has been sent and is not answered."""
    store.store.open.clear()
    store.store.asked.clear()
    task = asyncio.create_task(url_of(store, host))
    await store.store.asked.wait()
    return task


async def test_a_hot_route_costs_no_read(store):
    route = await store.find("a.example")
    assert all(store.known("a.example") is route for _ in range(100))
    assert store.store.reads == 1


async def test_concurrent_misses_share_one_read(store):
    first = await in_flight(store)
    others = [asyncio.create_task(url_of(store)) for _ in range(9)]
    await asyncio.sleep(0)
    first.cancel()
    store.store.open.set()
    assert set(await asyncio.gather(*others)) == {"http://a:1"}
    assert store.store.reads == 1


@pytest.mark.parametrize("key", ["a.example", "*.example", "*", None])
async def test_a_read_that_a_change_overtook_is_not_remembered(store, key):
    reading = await in_flight(store)
    store.store.lists["a.example"] = "http://a:2"
    if key is None:
        store.everything_changed()
    else:
        store.frontend_changed(key)
    later = asyncio.create_task(url_of(store))
    await asyncio.sleep(0)
    store.store.open.set()
    assert (await reading, await later) == ("http://a:1", "http://a:2")
    assert store.known("a.example").frontend.backends[0].url == "http://a:2"


async def test_a_late_answer_is_not_put_over_what_another_host_has_read_since(store):
    asked, late = asyncio.Event(), asyncio.Event()

    async def lookup(host: str) -> Found:
        found = Found(parse_frontend("*.example", ["id", store.store.lists["*.example"]]), NO_MARKS)
        if host == "late.example":
            asked.set()
            await late.wait()
        return found

    store.store.lookup, store.store.lists["*.example"] = lookup, "http://a:1"
    reading = asyncio.create_task(url_of(store, "late.example"))
    await asked.wait()
    store.store.lists["*.example"] = "http://a:2"
    store.frontend_changed("*.example")
    assert await url_of(store) == "http://a:2"
    late.set()
    assert await reading == "http://a:1"
    assert store.known("a.example").frontend.backends[0].url == "http://a:2"


@pytest.mark.parametrize("lost", [True, False], ids=["tracking was lost", "the list changed"])
async def test_late_marks_are_not_put_over_those_that_were_read_since(store, lost):
    await store.find("a.example")
    asked, late = asyncio.Event(), asyncio.Event()

    async def marks(frontend):
        found = {**store.store.marked.get(frontend.key, NO_MARKS)}
        asked.set()
        await late.wait()
        return found

    store.store.marks = marks
    store.marks_changed("a.example")
    await asked.wait()
    mark = Mark(2e9, 1e9, "refused", "other")
    store.store.marked["a.example"] = {"http://a:1": mark}
    if lost:
        store.lost("closed")
        store.tracking()
    else:
        store.frontend_changed("a.example")
    assert (await store.find("a.example")).marks == {"http://a:1": mark}
    late.set()
    for _ in range(9):
        await asyncio.sleep(0)
    assert store.known("a.example").marks == {"http://a:1": mark}


async def test_marks_that_change_while_the_store_is_away_are_read_when_it_is_back(store):
    await store.find("a.example")
    store.unreachable("loading")
    mark = Mark(2e9, 1e9, "refused", "other")
    store.store.marked["a.example"] = {"http://a:1": mark}
    store.marks_changed("a.example")
    assert await url_of(store) == "http://a:1"
    store.reached()
    assert (await store.find("a.example")).marks == {"http://a:1": mark}


async def test_a_read_from_before_a_reconnect_is_not_remembered(store):
    reading = await in_flight(store)
    store.lost("closed")
    store.tracking()
    store.store.open.set()
    await reading
    assert store.known("a.example") is None


async def test_a_change_of_another_frontend_costs_nothing(store):
    await store.find("a.example")
    store.frontend_changed("b.example")
    store.frontend_changed("*.other")
    assert store.known("a.example")


async def test_a_change_of_marks_keeps_the_frontend_and_reads_only_marks(store):
    before = await store.find("a.example")
    mark = Mark(2e9, 1e9, "refused", "other")
    store.store.marked["a.example"] = {"http://a:1": mark}
    store.store.asked.clear()
    store.marks_changed("a.example")
    assert store.known("a.example") is before
    await store.store.asked.wait()
    await asyncio.sleep(0)
    assert store.known("a.example").frontend is before.frontend
    assert store.known("a.example").marks == {"http://a:1": mark}


async def test_marks_that_change_while_they_are_read_are_read_again(store):
    await store.find("a.example")
    store.store.open.clear()
    store.store.asked.clear()
    store.marks_changed("a.example")
    await store.store.asked.wait()
    mark = Mark(2e9, 1e9, "refused", "other")
    store.store.marked["a.example"] = {"http://a:1": mark}
    store.marks_changed("a.example")
    store.store.open.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert store.known("a.example").marks == {"http://a:1": mark}


async def test_while_changes_are_not_told_every_request_asks(store):
    await store.find("a.example")
    store.lost("closed")
    assert [await url_of(store) for _ in range(3)] == ["http://a:1"] * 3
    assert store.store.reads == 4


async def test_a_host_that_does_not_exist_is_remembered_until_it_does(store):
    for _ in range(5):
        with pytest.raises(FrontendNotFound):
            await store.find("new.example")
    assert store.store.reads == 1
    store.store.lists["new.example"] = "http://n:1"
    store.frontend_changed("new.example")
    assert await url_of(store, "new.example") == "http://n:1"


async def test_the_least_recently_used_host_goes_first(store):
    for name in ("b", "c", "d"):
        store.store.lists[name] = "http://x:1"
    for host in ("a.example", "b", "c"):
        await store.find(host)
    store.known("a.example")
    await store.find("d")
    assert [host for host in ("a.example", "b", "c", "d") if store.known(host) is None] == ["b"]


def test_hosts_of_one_wildcard_are_bounded_too():
    """They share what is remembered of their use, and the oldest of them still go."""
    memory = RouteCache(3, lambda key: {})
    found = Found(parse_frontend("*.example", ["id", "http://x:1"]))
    for number in range(20):
        memory.keep(f"h{number}.example", found, fresh=True)
        for known in range(number + 1):
            memory.known(f"h{known}.example")
    assert len(memory) == 3
    assert memory.known("h19.example") is not None


async def test_an_outage_asks_once_a_second_and_serves_what_was_known(store):
    await store.find("a.example")
    store.lost("closed")
    store.store.away = True
    assert await url_of(store) == "http://a:1"
    reads = store.store.reads
    for _ in range(50):
        assert await url_of(store) == "http://a:1"
        with pytest.raises(StoreUnavailable):
            await store.find("b.example")
    assert store.store.reads == reads


async def test_a_mark_outlives_an_outage_of_the_store(store):
    route = await store.find("a.example")
    store.store.away = True
    mark = Mark(2e9, 1e9, "refused", "me")
    store.mark_dead(route.frontend, route.frontend.backends[0], mark)
    await asyncio.sleep(0)
    store.everything_changed()
    store.store.away = False
    assert (await store.find("a.example")).marks == {"http://a:1": mark}


async def test_a_mark_that_is_not_shared_stays_here(store):
    route = await store.find("a.example")
    backend, mark = route.frontend.backends[0], Mark(2e9, 1e9, "refused", "me")
    store.mark_dead(route.frontend, backend, mark, share=False)
    store.frontend_changed("a.example")
    assert (await store.find("a.example")).marks == {backend.url: mark}
    assert store.store.marked == {}


async def test_an_error_nobody_foresaw_is_logged_and_nothing_is_believed(store, caplog):
    await store.find("a.example")
    store.store.lookup = None
    store.store.asked.clear()
    with pytest.raises(TypeError):
        await store.find("b.example")
    assert "store read b.example failed" in caplog.text
    assert store.known("a.example") is None


async def test_one_answer_that_does_not_come_is_no_outage(store, caplog):
    store.store.away = True
    for host in ("b.example", "c.example"):
        with pytest.raises(StoreUnavailable):
            await store.find(host)
    assert not store.away
    assert len(caplog.records) == 1
    store.store.away = False
    assert await url_of(store) == "http://a:1"


async def test_marks_that_can_not_be_read_are_read_with_the_next_request(store):
    await store.find("a.example")
    mark = Mark(2e9, 1e9, "refused", "other")
    store.store.marked["a.example"] = {"http://a:1": mark}
    store.store.away = True
    store.store.asked.clear()
    store.marks_changed("a.example")
    await store.store.asked.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    store.store.away = False
    assert (await store.find("a.example")).marks == {"http://a:1": mark}


async def test_who_waits_for_a_read_when_the_outage_is_found_does_not_wait_on(store):
    store.lost("closed")
    first = await in_flight(store, "b0.example")
    others = [asyncio.create_task(url_of(store, f"b{n}.example")) for n in range(1, 100)]
    await asyncio.sleep(0)
    store.store.away = True
    store.store.open.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    assert store.store.reads <= ReadPlan().most


async def test_hosts_beyond_the_set_number_are_read_in_the_order_in_which_they_were_asked_for():
    scripted = ScriptedStore()
    scripted.lists = {f"{n}.example": "http://a:1" for n in range(9)}
    store = CachedStore(scripted, plan=ReadPlan(most=3))
    await store.start()
    first = await in_flight(store, "0.example")
    others = [asyncio.create_task(url_of(store, f"{n}.example")) for n in range(1, 9)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert scripted.reads == 3
    scripted.open.set()
    assert set(await asyncio.gather(first, *others)) == {"http://a:1"}
    assert list(store._memory.fresh()) == list(scripted.lists)
    await store.aclose()
