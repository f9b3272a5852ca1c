"""Several frontends of a cluster at once: what protects them, and what is left when it fails."""

from contextlib import asynccontextmanager

import pytest
from redis import Redis

from app.commands.failing import CommandFailed
from app.commands.import_changes import FrontendChange, ImportChanges
from app.commands.importing import Import
from app.commands.renaming import rename_site
from app.errors import StoreUnavailable
from app.stores import driver_for
from app.stores.redis.cluster.slot_map import slot_of
from app.stores.table import Entry, TableError
from app.stores.table_difference import difference
from app.stores.tables import PartlyChanged

URLS = tuple(f"http://127.0.0.1:{n}" for n in range(1, 4))
PLAIN = Entry("id", URLS[:2])
GUARD = Entry("", options={"auth": "users"}, listed=False)
"""A host whose prefixes inherit its options."""
SITE = {"a.test": GUARD, "a.test/api": PLAIN, "a.test/docs": PLAIN}


@pytest.fixture(params=["plain", "tagged"])
async def table(cluster, request):
    table = driver_for((f"{cluster.url}?keys={request.param}",)).table()
    yield table
    await table.aclose()


@pytest.fixture
async def untagged(cluster):
    table = driver_for((cluster.url,)).table()
    yield table
    await table.aclose()


@asynccontextmanager
async def refusing_writes(cluster, *names):
    """The primaries of these keys write nothing, for they lack replicas."""
    servers = {await cluster.owner(name) for name in names}
    for server in servers:
        await cluster.command(server, "CONFIG", "SET", "min-replicas-to-write", "9")
    try:
        yield
    finally:
        for server in servers:
            await cluster.command(server, "CONFIG", "SET", "min-replicas-to-write", "0")


def hosts_on(key, *, count, same):
    """Hosts whose list is on the primary that `key` is on, or on others."""
    third = slot_of(key) * 3 // 16384
    names = (f"h{n}.test" for n in range(1000))
    fitting = (h for h in names if (slot_of(f"frontend:{h}") * 3 // 16384 == third) is same)
    return [next(fitting) for _ in range(count)]


async def test_prefixes_inherit_the_options_of_a_new_host_without_a_list(table):
    with ImportChanges() as changes:
        for key, entry in SITE.items():
            changes.add(FrontendChange(key, None, entry))
        await Import(changes).run(table)
    assert await table.read() == SITE
    assert {change.key for change in await table.journal(None, 9)} == {*SITE}


async def test_a_host_without_a_list_is_renamed_and_removed(table):
    await table.change([*SITE], lambda _: SITE)
    await rename_site(table, "a.test", "b.test")
    renamed = {key.replace("a.", "b."): entry for key, entry in SITE.items()}
    assert await table.read() == renamed
    await table.change([*renamed], lambda _: {})
    await table.change(["a.test/x", "b.test/x"], lambda _: {"a.test/x": PLAIN, "b.test/x": PLAIN})
    assert await table.read(["a.test", "b.test"]) == {
        host: Entry("", listed=False) for host in ("a.test", "b.test")
    }


async def test_a_prefix_is_never_there_without_the_options_of_its_host(cluster, untagged):
    async with refusing_writes(cluster, "options:a.test"):
        with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
            await untagged.change([*SITE], lambda _: SITE)
    assert await untagged.read() == {}
    await untagged.change([*SITE], lambda _: SITE)
    async with refusing_writes(cluster, "paths:a.test"):
        with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
            await untagged.change([*SITE], lambda _: {})
    assert await untagged.read() == SITE


async def test_options_of_somebody_who_creates_the_same_frontend_stay(cluster, table):
    """They do it between the look of this change and what it writes."""
    names = table._names
    kinds = {kind: names.of(f"{kind}:", "h3.test") for kind in ("options", "frontend")}
    ports = {kind: (await cluster.owner(name)).port for kind, name in kinds.items()}
    theirs = Entry("theirs", URLS[:1], {"auth": "theirs"})
    ours = {f"h{n}.test": Entry("ours", URLS[1:2], {"policy": "hash"}) for n in range(5)}
    seen = []

    def edit(before):
        seen.append(before)
        if len(seen) == 1:
            with Redis(port=ports["options"]) as options, Redis(port=ports["frontend"]) as lists:
                options.hset(kinds["options"], mapping=theirs.options)
                lists.rpush(kinds["frontend"], *theirs.rows)
        return ours | before

    await table.change([*ours], edit)
    assert await table.read() == ours | {"h3.test": theirs}
    assert seen == [{}, {"h3.test": theirs}]  # what it wrote itself is hidden from it


async def test_a_list_that_no_request_finds_is_mended(cluster, table):
    """An import was interrupted before it named the prefix among those of its host."""
    name = table._names.of("frontend:", "a.test/api")
    await cluster.at(name, "RPUSH", *PLAIN.rows)
    lost = await table.read()
    assert lost != {"a.test/api": PLAIN}
    assert [*difference(lost, {"a.test/api": PLAIN})] == [
        "~ a.test/api  named among the prefixes of its host"
    ]
    await table.change([*lost], lambda _: {"a.test/api": PLAIN})
    assert await table.read() == {"a.test/api": PLAIN}
    members = await cluster.at(table._names.of("paths:", "a.test"), "SMEMBERS")
    assert [*members] == ["/api"]


async def test_what_is_left_of_options_does_not_come_to_life(cluster, table):
    wanted = {f"h{n}.test": PLAIN for n in range(5)} | {"one.test": PLAIN}
    for host in ("h2.test", "one.test"):
        for kind in ("options:", "healthcheck:"):
            await cluster.at(table._names.of(kind, host), "HSET", "path", "/old")
    await table.change(["one.test"], lambda _: {"one.test": PLAIN})
    await table.change([*wanted], lambda _: wanted)
    assert await table.read() == wanted


async def test_the_journal_tells_of_what_was_written_before_it_failed(cluster, untagged):
    good = hosts_on("hipache:journal", count=3, same=True)
    bad = hosts_on("hipache:journal", count=3, same=False)
    wanted = dict.fromkeys(good + bad, PLAIN)
    async with refusing_writes(cluster, *(f"frontend:{host}" for host in bad)):
        with ImportChanges() as changes:
            for host in sorted(wanted):
                changes.add(FrontendChange(host, None, PLAIN))
            with pytest.raises(CommandFailed) as failed:
                await Import(changes).run(untagged)
    assert ": 3 of 6 frontends are written; the same import goes on" in str(failed.value)
    assert await untagged.read() == dict.fromkeys(good, PLAIN)
    assert {change.key for change in await untagged.journal(None, 9)} == {*good}


async def test_somebody_else_s_change_between_two_of_ours_is_told(cluster, untagged):
    """The first is written by then: the journal has it."""
    hosts = ["a.test", "b.test"]
    await untagged.change(hosts, lambda _: dict.fromkeys(hosts, PLAIN))
    port, looks = (await cluster.owner("frontend:b.test")).port, []

    def edit(before):
        looks.append(before)
        if len(looks) > 1:
            raise TableError("changed meanwhile")
        with Redis(port=port) as redis:
            redis.rpush("frontend:b.test", URLS[2])
        return dict.fromkeys(hosts, Entry("new", URLS[:1]))

    with pytest.raises(PartlyChanged, match="changed meanwhile; 1 of 2 frontends were written"):
        await untagged.change(hosts, edit)
    assert looks[1] == {"a.test": PLAIN, "b.test": Entry("id", URLS)}
    (change, *_) = await untagged.journal(None, 9)
    assert (change.key, change.after) == ("a.test", Entry("new", URLS[:1]))
