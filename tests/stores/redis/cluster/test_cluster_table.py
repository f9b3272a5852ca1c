"""How `hipache route` changes frontends whose keys are in several slots."""

import asyncio
import re

import pytest

from app.config.store_address import StoreAddress
from app.stores import driver_for
from app.stores.key_pattern import EVERY_KEY, KeyPattern
from app.stores.redis.cluster.cluster_connections import ClusterConnections
from app.stores.redis.cluster.cluster_table import steps_of
from app.stores.redis.cluster.new_frontends import create
from app.stores.redis.cluster.slot_map import slot_of
from app.stores.redis.keys import KeyNames
from app.stores.redis.url import parse_url
from app.stores.table import Entry
from app.stores.table_pieces import all_keys

URLS = tuple(f"http://127.0.0.1:{n}" for n in range(1, 9))
OLD = Entry("id", URLS[:1], {"policy": "hash", "auth": "a"}, {"path": "/up"})


def test_a_new_frontend_is_visible_last():
    steps = list(steps_of(KeyNames(""), "a.test/api", None, OLD))
    names = [step[1] for step in steps if step[0] in ("HSET", "RPUSH", "SADD")]
    assert names == [
        "options:a.test/api",
        "healthcheck:a.test/api",
        "frontend:a.test/api",
        "paths:a.test",
    ]


def test_a_frontend_that_is_removed_is_invisible_first():
    steps = [step[1] for step in steps_of(KeyNames(""), "a.test/api", OLD, None)]
    assert steps[:2] == ["paths:a.test", "frontend:a.test/api"]


def test_options_are_gained_before_the_list_and_lost_after_it():
    new = Entry("id", URLS[1:2], {"policy": "hash", "https": "force"})
    steps = list(steps_of(KeyNames(""), "a.test", OLD, new))
    assert steps == [
        ("HSET", "options:a.test", "https", "force"),
        ("DEL", "frontend:a.test"),
        ("RPUSH", "frontend:a.test", "id", URLS[1]),
        ("HDEL", "options:a.test", "auth"),
        ("HDEL", "healthcheck:a.test", "path"),
    ]


def test_tagged_keys_of_a_host_are_in_one_slot():
    steps = steps_of(KeyNames("p:", tagged=True), "a.test/api", None, OLD)
    assert len({slot_of(step[1]) for step in steps}) == 1


@pytest.mark.parametrize("keys", ["plain", "tagged"])
async def test_no_change_of_two_writers_is_lost(cluster, keys):
    tables = [driver_for((f"{cluster.url}?keys={keys}",)).table() for _ in range(4)]

    async def add(number):
        def edit(before):
            entry = before.get("a.test") or Entry("id")
            options = {**entry.options, f"weight:{URLS[number]}": "2"}
            return {"a.test": Entry("id", (*entry.backends, URLS[number]), options)}

        await tables[number].change(["a.test"], edit)

    await asyncio.gather(*map(add, range(4)))
    entry = (await tables[0].read())["a.test"]
    assert set(entry.backends) == set(URLS[:4])
    assert len(entry.options) == 4
    changes = await tables[0].journal("a.test", 10)
    assert len(changes) == 4
    for table in tables:
        await table.aclose()


async def test_a_renamed_frontend_is_there_before_it_is_gone(cluster):
    table = driver_for((cluster.url,)).table()
    await table.change(["a.test"], lambda before: {"a.test": OLD})
    await table.change(["a.test", "b.test"], lambda before: {"b.test": before["a.test"]})
    assert await table.read() == {"b.test": OLD}
    assert [key async for keys in all_keys(table, EVERY_KEY) for key in keys] == ["b.test"]
    await table.aclose()


async def test_a_scan_finds_tagged_keys_by_what_they_are_called(cluster):
    table = driver_for((f"{cluster.url}?keys=tagged",)).table()
    new = {"a.test": OLD, "a.test/api": OLD, "b.test": OLD}
    await table.change(list(new), lambda before: new)
    for pattern, keys in (("a.test", {"a.test", "a.test/api"}), ("*test/api", {"a.test/api"})):
        matching = KeyPattern.written(pattern)
        assert {key async for some in all_keys(table, matching) for key in some} == keys
    await table.aclose()


@pytest.mark.parametrize("keys", ["plain", "tagged"])
async def test_many_new_frontends_are_written_at_once(cluster, keys):
    """In some trips to each primary, whatever belongs to them; the others are changed as ever."""
    new = {f"h{n}.test": Entry(f"id {n}", URLS[: n % 8 + 1]) for n in range(100)}
    new |= {f"h{n}.test/api": Entry("api", URLS[:1], ttl=600) for n in range(10)}
    table = driver_for((f"{cluster.url}?keys={keys}",)).table()
    try:
        await table.change(["old.test"], lambda _: {"old.test": OLD})
        before = await commands_of(cluster)
        wanted = new | {"old.test": new["h1.test"]}
        await table.change([*wanted], lambda _: wanted)
        assert await commands_of(cluster) - before < 10  # EXEC, of which one frontend needs two
        assert await table.read([*wanted]) == wanted
        written = await table.journal(None, 1000)
        assert {change.key: change.before for change in written[:111]} == {
            key: OLD if key == "old.test" else None for key in wanted
        }
    finally:
        await table.aclose()


async def commands_of(cluster):
    """Transactions so far."""
    found = [
        str(await cluster.command(server, "INFO", "commandstats")) for server in cluster.primaries
    ]
    return sum(int(n) for text in found for n in re.findall("cmdstat_exec:calls=([0-9]+)", text))


async def test_a_frontend_that_somebody_else_has_just_created_is_no_new_one(cluster):
    """Nothing of theirs is overwritten; it is told, so that the change is made again."""
    theirs, ours = Entry("theirs", URLS[:1], {"auth": "a"}), Entry("ours", URLS[1:2])
    hosts = [f"h{n}.test" for n in range(9)]
    table = driver_for((cluster.url,)).table()
    link = ClusterConnections(parse_url(StoreAddress(cluster.url)), timeout=10, retries=0)
    try:
        await table.change([hosts[4]], lambda _: {hosts[4]: theirs})
        created = await create(link, KeyNames(""), dict.fromkeys(hosts, ours))
        assert created == ({*hosts} - {hosts[4]}, None)
        assert await table.read(hosts) == dict.fromkeys(hosts, ours) | {hosts[4]: theirs}
    finally:
        await link.aclose()
        await table.aclose()


async def test_an_operator_who_may_run_no_script_writes_one_after_the_other(cluster):
    rules = "RESET", "ON", ">secret", "+@all", "~*", "&*", "-eval"
    for server in cluster.servers:
        await cluster.command(server, "ACL", "SETUSER", "operator", *rules)
    table = driver_for((cluster.url.replace("://", "://operator:secret@"),)).table()
    wanted = {f"h{n}.test": Entry("id", URLS[:2], {"policy": "hash"}) for n in range(5)}
    try:
        await table.change([*wanted], lambda _: wanted)
        assert await table.read([*wanted]) == wanted
    finally:
        await table.aclose()
        for server in cluster.servers:
            await cluster.command(server, "ACL", "DELUSER", "operator")
