"""What a cluster goes through while it serves: lost shards, failovers, slots that move."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.stores import CachedStore
from app.stores.redis.cluster.slot_map import slot_of
from app.stores.table import Entry
from tests.redis_cluster import Cluster, cluster_in
from tests.redis_servers import RedisServer, until

from .test_cluster_store import URL, put, remembered, routes, table_of


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster to be harmed."""
    async with cluster_in(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def hosts(shared_cluster: Cluster) -> list[str]:
    """One on each primary, with tagged keys."""
    return [shared_cluster.host_on(n) for n in range(3)]


async def test_slots_move_while_it_serves(cluster, hosts):
    """A key is found before, while and after its slot moves, and so is a change of it."""
    url = f"{cluster.url}?keys=tagged"
    await put(url, {host: Entry("old", (URL,)) for host in hosts})
    here, there = cluster.primaries[:2]
    slot = slot_of(f"frontend:{{{hosts[0]}}}")
    names = [await cluster.command(server, "CLUSTER", "MYID") for server in (here, there)]
    async with routes(url) as store, table_of(url) as table:
        await remembered(store, hosts[0])
        await cluster.command(there, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        await cluster.command(here, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        assert (await store.find(hosts[0])).frontend.identifier == "old"
        keys = await cluster.command(here, "CLUSTER", "GETKEYSINSLOT", slot, 100)
        await cluster.command(here, "MIGRATE", "127.0.0.1", there.port, "", 0, 1000, "KEYS", *keys)
        await until(lambda: store.known(hosts[0]) is None)  # it has gone there: this is pushed
        assert (await store.find(hosts[0])).frontend.identifier == "old"  # ASK
        changing = asyncio.create_task(
            table.change([hosts[0]], lambda before: {hosts[0]: Entry("new", (URL,))})
        )
        for server in (there, here, cluster.primaries[2]):
            await cluster.command(server, "CLUSTER", "SETSLOT", slot, "NODE", names[1])
        await changing
        assert await table.wait(10) == (1, [])
        assert (await store.find(hosts[0])).frontend.identifier == "new"  # MOVED
        for server in (here, there, cluster.primaries[2]):
            await cluster.command(server, "CLUSTER", "SETSLOT", slot, "NODE", names[1])
    await give_back(cluster, slot, there, here)


async def give_back(cluster: Cluster, slot: int, here: RedisServer, there: RedisServer) -> None:
    await cluster.empty()
    names = [await cluster.command(server, "CLUSTER", "MYID") for server in (here, there)]
    # Only the end of an import gives the new owner a later epoch, by which the others believe it.
    await cluster.command(there, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    for server in (there, here, *(s for s in cluster.primaries if s not in (here, there))):
        await cluster.command(server, "CLUSTER", "SETSLOT", slot, "NODE", names[1])
    await cluster.settled()


async def test_a_replica_takes_over_and_is_lost_too(own, hosts):
    """A shard that is away is the matter of its own hosts, and its known ones are served."""
    url = f"{own.url}?keys=tagged"
    await put(url, {host: Entry("old", (URL,)) for host in hosts})
    async with routes(url) as store, table_of(url) as table:
        for host in hosts:
            await remembered(store, host)
        (await own.owner(f"frontend:{{{hosts[0]}}}")).kill()
        await until(lambda: store.known(hosts[0]) is None)
        await served_without_the_first(store, hosts)
        async with asyncio.timeout(20):
            await remembered(store, hosts[0])  # tracked again, by the new primary
        await table.change([hosts[0]], lambda before: {hosts[0]: Entry("new", (URL,))})
        assert await table.wait(10) == (1, [])
        for host in hosts:
            await remembered(store, host)
        (await own.owner(f"frontend:{{{hosts[0]}}}")).kill()
        await until(lambda: store.known(hosts[0]) is None)
        assert await served_without_the_first(store, hosts) == "new"
        with pytest.raises(StoreUnavailable):
            await table.change([hosts[0]], lambda before: {})
        await table.change([hosts[1]], lambda before: {hosts[1]: Entry("new", (URL,))})
        await until(lambda: store.known(hosts[1]) is None)
        assert (await store.find(hosts[1])).frontend.identifier == "new"
        await remembered(store, hosts[1])


async def served_without_the_first(store: CachedStore, hosts: list[str]) -> str:
    """Those of the other shards are known to be true; the identifier of the first as it was."""
    assert store.known(hosts[1])
    assert store.known(hosts[2])
    assert not store.away
    return (await store.find(hosts[0])).frontend.identifier


@pytest.mark.long
async def test_a_silent_primary_holds_up_no_other_host(own, hosts):
    url = f"{own.url}?keys=tagged"
    await put(url, {host: Entry("id", (URL,)) for host in hosts})
    async with routes(url) as store:
        for host in hosts:
            await remembered(store, host)
        own.primaries[0].pause()
        await until(lambda: store.known(hosts[0]) is None)
        assert store.known(hosts[1])
        assert (await store.find(hosts[0])).frontend.size == 1
        own.primaries[0].resume()


@pytest.mark.long
async def test_all_primaries_are_away(own, hosts, caplog):
    url = f"{own.url}?keys=tagged"
    await put(url, {host: Entry("id", (URL,)) for host in hosts})
    async with routes(url) as store:
        for host in hosts:
            await remembered(store, host)
        own.kill()
        await until(lambda: store.away)
        for host in hosts:
            assert (await store.find(host)).frontend.size == 1
        with pytest.raises(StoreUnavailable):
            await store.find("nowhere.test")
        await asyncio.gather(*(server.start() for server in own.servers))
        await until(lambda: not store.away)
