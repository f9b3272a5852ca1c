"""The store on a real cluster: the same promises, with keys divided over three primaries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import FrontendNotFound, StoreUnavailable
from app.frontends.rates import Rate
from app.routing import Mark, Route
from app.stores import CachedStore, driver_for, open_store
from app.stores.certificate_store import NO_PAIR
from app.stores.redis.keys import FRONTEND, KeyNames
from app.stores.table import Entry, Table
from app.stores.tables import RouteTable
from tests.redis_cluster import Cluster
from tests.redis_servers import until

URL = "http://127.0.0.1:1"


@pytest.fixture(params=["plain", "tagged"])
def url(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    return f"{cluster.url}?keys={request.param}"


@asynccontextmanager
async def routes(url: str) -> AsyncIterator[CachedStore]:
    store = open_store(Config(driver=(url,), server=ServerConfig(snapshot=None)))  # type: ignore[arg-type]
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def table_of(url: str) -> AsyncIterator[RouteTable]:
    table = driver_for((url,)).table()
    try:
        yield table
    finally:
        await table.aclose()


async def put(url: str, table: Table) -> None:
    async with table_of(url) as there:
        await there.change(list(table), lambda before: table)


async def remembered(store: CachedStore, host: str) -> Route:
    while (route := store.known(host)) is None:
        await store.find(host)
    return route


async def test_what_a_host_needs_comes_from_all_primaries(url):
    many = {f"host{n}.test": Entry("id", (URL,), {"policy": "hash"}) for n in range(20)}
    await put(url, many | {"*.test": Entry("wild", (URL,)), "a.test/api": Entry("api", (URL,))})
    async with routes(url) as store:
        for host in many:
            assert (await store.find(host)).frontend.options == {"policy": "hash"}
        assert (await store.find("other.test")).frontend.key == "*.test"
        assert (await store.find("a.test", b"/api/x")).frontend.identifier == "api"
        with pytest.raises(FrontendNotFound):
            await store.find("nowhere.example")


async def test_a_change_on_any_primary_is_pushed(url):
    hosts = [f"host{n}.test" for n in range(12)]
    await put(url, {host: Entry("id", (URL,)) for host in hosts})
    async with routes(url) as store, table_of(url) as table:
        for host in hosts:
            await remembered(store, host)
        await table.change(hosts, lambda before: {host: Entry("new", (URL,)) for host in hosts})
        assert await table.wait(10) == (1, [])
        # Every primary has reported by then: nothing is known that is old.
        assert {store.known(host) for host in hosts} == {None}
        assert [(await store.find(host)).frontend.identifier for host in hosts] == ["new"] * 12


async def test_marks_reach_another_worker(url):
    await put(url, {"a.test": Entry("id", (URL,))})
    async with routes(url) as here, routes(url) as there:
        await remembered(there, "a.test")
        frontend = (await here.find("a.test")).frontend
        here.mark_dead(frontend, frontend.backends[0], Mark(2e9, 1e9, "refused", "me"))
        await here._local.flush(5)
        await until(lambda: there.marks_of(frontend))
        assert there.marks_of(frontend)[URL].reason == "refused"
        assert await here.store.marked_keys() == ["a.test"]
        here.clear_mark(frontend, frontend.backends[0])
        await here._local.flush(5)
        await until(lambda: not there.marks_of(frontend))


async def test_what_workers_share_besides(url):
    await put(url, {f"host{n}.test": Entry("id", (URL,)) for n in range(5)})
    async with routes(url) as store:
        assert await store.leases.hold("wake a.test", "one", 60)
        assert not await store.leases.hold("wake a.test", "two", 60)
        leases = await store.checks.hold("one", 60, 8, {})
        assert sorted(leases.renewed) == list(range(8))
        await store.checks.release("one")
        await store.checks.ping()
        assert await store.checks.pings() == (False, True)
        await store.store.uses.note(["host1.test", "gone.test"])
        await store.store.uses.prune()
        checked = await store.checks.listed(lambda key: True, every=True)
        assert sorted(each.frontend.key for each in checked) == [f"host{n}.test" for n in range(5)]
        assert await store.checks.marked(["host1.test", "host2.test"]) == set()
        rates = [store.rates.take(f"host{n}.test client", Rate(10, 1)) for n in range(12)]
        assert await asyncio.gather(*rates) == [0.0] * 12  # scripts on servers that knew none
        assert await store.rates.take("host1.test client", Rate(10, 1)) > 0


@pytest.mark.parametrize("path", ["{id}", "x}y", "{", "{}", "}{", "{a}{b}"])
@pytest.mark.parametrize("rate", [Rate(0.01, 100), Rate(10, 1)], ids=["in slices", "one by one"])
async def test_clients_are_counted_whatever_braces_a_prefix_has(cluster, path, rate):
    async with routes(cluster.url) as store:
        assert await store.rates.take(f"a.test/{path}:10.0.0.1", rate) == 0.0
        assert not store.rates.away


async def test_the_doctor_sees_every_primary_and_all_keys(url, cluster):
    await put(url, {"a.test": Entry("id", (URL,)), "a.test/api": Entry("api", (URL,))})
    await cluster.at(KeyNames("", tagged="tagged" in url).of(FRONTEND, "odd.test"), "SET", "x")
    seen, *parts = [part async for part in driver_for((url,)).inspect(timeout=5)]
    assert [server.name for server in seen.servers] == sorted(
        f"127.0.0.1:{server.port}" for server in cluster.primaries
    )
    assert {server.coverage for server in seen.servers} == {"no"}
    assert sum(part.looked for part in parts) == seen.total > 3
    assert sorted(key for part in parts for key in part.frontends) == ["a.test", "a.test/api"]
    assert [part.paths for part in parts if part.paths] == [{"a.test": ["/api"]}]
    assert [wrong.found for part in parts for wrong in part.wrong_types] == ["string"]


async def test_a_command_goes_where_its_key_is(cluster):
    driver = driver_for((cluster.url,))
    for key in ("a", "b", "c"):
        assert await driver.command(["set", key, "1"], timeout=5) == ["OK"]
    assert await driver.command(["mget", "a", "b", "c", "d"], timeout=5) == ["1", "1", "1", ""]


async def test_what_is_set_for_a_server_is_set_for_every_primary(cluster):
    driver, names = driver_for((cluster.url,)), sorted(s.port for s in cluster.primaries)
    lines = await driver.command(["config", "set", "slowlog-max-len", "99"], timeout=5)
    assert lines == [f"127.0.0.1:{port}: OK" for port in names]
    for server in cluster.primaries:
        found = await cluster.command(server, "CONFIG", "GET", "slowlog-max-len")
        assert "99" in str(found)
    refused = f"127.0.0.1:{names[0]}: .*; 127.0.0.1:{names[1]}: "
    with pytest.raises(StoreUnavailable, match=refused):
        await driver.command(["CONFIG", "SET", "nonsense", "1"], timeout=5)


async def test_certificates_are_read_and_watched(cluster):
    pair = ("certificate", "PEM", "key", "KEY")
    for name in ("a.test", "b.test", "c.test"):
        await cluster.at(f"tls:{name}", "HSET", *pair)
    found = driver_for((cluster.url,)).certificates(timeout=5)
    names = [f"{letter}.test" for letter in "abcd"]
    assert await found.read(names) == [("PEM", "KEY")] * 3 + [NO_PAIR]
    assert sorted([each async for each in found.listed()]) == [
        (f"{name}.test", "PEM") for name in "abc"
    ]
    await found.aclose()


async def test_a_server_that_is_no_cluster_says_so(valkey, caplog):
    url = valkey.url.replace("redis:", "redis+cluster:")
    async with routes(url) as store:
        assert store.away
    assert "cluster support disabled" in caplog.text
