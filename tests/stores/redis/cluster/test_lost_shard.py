"""A whole proxy under load on a cluster that loses a shard: which requests that costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.stores.redis.cluster.slot_map import SLOTS, slot_of
from app.stores.table import Entry
from tests.backends import answer, answering
from tests.processes import Service, serve
from tests.redis_cluster import NODE_TIMEOUT, Cluster, cluster_in
from tests.redis_servers import RedisServer
from tests.whole_proxy import Load, load

from .test_cluster_store import put

WORKERS = 2
EACH = 5
"""Hosts on each primary that are asked for all the time."""


class Site:
    """Hosts on every primary of a cluster, and a proxy that is asked for them without a pause."""

    def __init__(self, cluster: Cluster, service: Service, urls: dict[str, str]) -> None:
        """`urls`: of backends, by what they answer."""
        self.cluster, self.service = cluster, service
        self.url, self._urls = f"{cluster.url}?keys=tagged", urls

    async def lead(self, hosts: Sequence[str], answered: str) -> None:
        """Let these hosts answer that from now on, as soon as the cluster takes it."""
        table = {host: Entry("id", (self._urls[answered],)) for host in hosts}
        async with asyncio.timeout(20):
            while True:
                try:
                    await put(self.url, table)
                    return
                except StoreUnavailable:
                    await asyncio.sleep(0.1)

    def servers(self, shard: int) -> list[RedisServer]:
        """Its primary and its replica, whichever is which now."""
        return [self.cluster.servers[shard], self.cluster.servers[shard + 3]]

    async def lose(self, shard: int) -> None:
        """Kill both; what was written is kept on disk."""
        for server in self.servers(shard):
            await self.cluster.command(server, "SAVE")
        for server in self.servers(shard):
            server.kill()

    async def bring_back(self, shard: int) -> None:
        """Start both."""
        for server in self.servers(shard):
            await server.start()
        await self.cluster.settled()


def hosts_on(shard: int) -> list[str]:
    """One more than are asked for."""
    names = (f"host{n}.test" for n in range(1000))
    found = [name for name in names if slot_of(f"{{{name}}}") * 3 // SLOTS == shard]
    return found[: EACH + 1]


HOSTS = [hosts_on(shard) for shard in range(3)]
NEW = [hosts.pop() for hosts in HOSTS]
"""Nobody asks for them before a shard is lost."""


@asynccontextmanager
async def site(folder: Path, node_timeout: int = 60_000) -> AsyncIterator[Site]:
    """`node_timeout` (ms): a busy machine brings about no failover before it is over."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        cluster = await enter(cluster_in(folder))
        await cluster.be_patient(node_timeout)
        urls = {
            text: (await enter(answering(answer(text.encode())))).url for text in ("old", "new")
        }
        url = f"{cluster.url}?keys=tagged"
        every = [*NEW, *(host for hosts in HOSTS for host in hosts)]
        await put(url, {host: Entry("id", (urls["old"],)) for host in every})
        service = await enter(serve(folder, url, WORKERS))
        yield Site(cluster, service, urls)


@asynccontextmanager
async def asked_all_the_time(
    service: Service, lost: int
) -> AsyncIterator[tuple[Load, Load, list[str]]]:
    """Loads on the hosts of one shard, and on those of the others; and the latter."""
    others = [host for shard, hosts in enumerate(HOSTS) if shard != lost for host in hosts]
    async with load(service, HOSTS[lost]) as own, load(service, others) as rest:
        for each in (own, rest):
            await each.all_say(b"old", seconds=20)
            each.forget()  # a host is known when it was read, which a busy machine may keep waiting
        yield own, rest, others


async def test_a_lost_shard_costs_no_request_for_what_is_known(tmp_path: Path) -> None:
    async with site(tmp_path) as here, asked_all_the_time(here.service, 0) as (own, rest, others):
        await here.lose(0)
        await here.lead(others, "new")
        await rest.all_say(b"new", seconds=20)  # the others are read and told of as ever
        await own.goes_on()
        assert (own.answers, rest.answers) == ({b"old"}, {b"old", b"new"})
        lost, *found = NEW
        assert (await here.service.ask(lost))[9:12] == b"503"
        async with asyncio.timeout(20):
            for host in found:
                while (await here.service.ask(host))[9:12] != b"200":
                    pass


@pytest.mark.long
async def test_every_shard_is_lost_once_and_comes_back(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for shard in range(3):
            async with asked_all_the_time(here.service, shard) as (own, rest, others):
                await here.lose(shard)
                await here.lead(others, "new")
                await rest.all_say(b"new", seconds=20)
                await own.goes_on()
                assert (own.answers, rest.answers) == ({b"old"}, {b"old", b"new"})
                await here.bring_back(shard)
                await here.lead(HOSTS[shard], "new")
                for each in (own, rest):
                    await each.all_say(b"new", seconds=20)
                    assert each.answers == {b"old", b"new"}
            await here.lead([*others, *HOSTS[shard]], "old")


@pytest.mark.long
async def test_a_failover_costs_no_request_for_what_is_known(tmp_path: Path) -> None:
    async with (
        site(tmp_path, NODE_TIMEOUT) as here,
        asked_all_the_time(here.service, 0) as (own, rest, others),
    ):
        here.cluster.primaries[0].kill()
        await here.lead([*others, *HOSTS[0]], "new")  # the replica has taken over
        for each in (own, rest):
            await each.all_say(b"new", seconds=20)
            assert each.answers == {b"old", b"new"}
