"""Two proxies' tables on one store: what one says counts in both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest

from app.chp.hub_table import HubTable
from app.chp.store_keeper import StoreKeeper
from app.errors import StoreUnavailable
from app.stores import driver_for
from tests.redis_servers import RedisServer, free_port, until

TARGET = {"target": "http://127.0.0.1:9", "user": "zoe"}


class Hub:
    """Opens tables; their clock moves by a second with each look."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url, self._stack = url, stack
        self._seconds = count(1000)

    async def table(
        self, default: str | None = None, *, stack: AsyncExitStack | None = None
    ) -> tuple[HubTable, StoreKeeper]:
        table = HubTable()
        records = driver_for((self.url,)).hub_records(timeout=5)
        keeper = StoreKeeper(
            table, lambda: float(next(self._seconds)), records, default_target=default
        )
        await (stack or self._stack).enter_async_context(keeper.running())
        return table, keeper


@pytest.fixture(params=["redis", "file"])
async def hub(
    request: pytest.FixtureRequest, valkey: RedisServer, tmp_path: Path
) -> AsyncIterator[Hub]:
    url = {"redis": f"{valkey.url}#p:", "file": f"file:{tmp_path}/hub"}[request.param]
    async with AsyncExitStack() as stack:
        yield Hub(url, stack)


def told(table: HubTable, path: str) -> Callable[[], object]:
    return lambda: table.get(path) and table.match("h", path)


async def test_what_is_said_here_counts_there(hub: Hub) -> None:
    (here, keeper), (there, _) = await hub.table(), await hub.table()
    await keeper.add("user/zoe/", TARGET)
    assert told(here, "/user/zoe")()
    await until(told(there, "/user/zoe"))
    assert there.all()["/user/zoe"].data == TARGET
    assert await keeper.remove("/user/zoe")
    assert here.get("/user/zoe") is None
    await until(lambda: there.get("/user/zoe") is None)
    assert not await keeper.remove("/user/zoe")


async def test_both_agree_when_both_write_the_same_route(hub: Hub) -> None:
    (here, one), (there, other) = await hub.table(), await hub.table()
    keepers = [one, other] * 10
    await asyncio.gather(
        *(
            keeper.add("/x", {"target": f"http://127.0.0.1:{number + 1}"})
            for number, keeper in enumerate(keepers)
        )
    )
    records = driver_for((hub.url,)).hub_records(timeout=5)
    stored = await records.read(["/x"])
    await records.aclose()

    def same() -> bool:
        told = [table.all()["/x"].data["target"] for table in (here, there)]
        return told[0] == told[1] and f'"{told[0]}"' in str(stored["/x"])

    await until(same)


async def test_routes_and_their_uses_outlive_the_proxy(hub: Hub) -> None:
    async with AsyncExitStack() as stack:
        table, keeper = await hub.table(stack=stack)
        await keeper.add("/x", TARGET)
        table.touch("/x", 5000.5)
    after, _ = await hub.table()
    assert (after.all()["/x"].data, after.all()["/x"].last_activity) == (TARGET, 5000.5)


async def test_a_use_there_is_known_here(hub: Hub) -> None:
    (here, keeper), (there, other) = await hub.table(), await hub.table()
    await keeper.add("/x", TARGET)
    await until(told(there, "/x"))
    there.touch("/x", 7000)
    here.touch("/x", 6000)
    await other.gather()
    await until(lambda: there.all()["/x"].last_activity == 7000)
    await keeper.gather()
    await until(lambda: here.all()["/x"].last_activity == 7000)


async def test_the_default_target_is_a_route(hub: Hub) -> None:
    here, _ = await hub.table(default="http://127.0.0.1:9/")
    assert here.all()["/"].data == {"target": "http://127.0.0.1:9/"}
    there, _ = await hub.table()
    assert "/" in there.all()


async def test_a_store_that_was_emptied_is_read_again(valkey: RedisServer) -> None:
    async with AsyncExitStack() as stack, valkey.client as client:
        hub = Hub(valkey.url, stack)
        table, keeper = await hub.table()
        await keeper.add("/x", TARGET)
        await client.flushall()
        await until(lambda: not table.all())


async def test_what_somebody_else_has_written_is_left_out(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack, valkey.client as client:
        await client.sadd("chp:routes", "/bad", "/deep", "/list", "/gone")
        await client.set("chp:route:/bad", "{")
        await client.set("chp:route:/deep", "[" * 100_000)
        await client.set("chp:route:/list", '["target"]')
        table, _ = await Hub(valkey.url, stack).table()
        assert table.complete
        assert not table.all()
        assert "route unreadable" in caplog.text


async def test_routes_stay_while_the_store_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = await RedisServer(tmp_path).start()
    try:
        async with AsyncExitStack() as stack:
            table, keeper = await Hub(server.url, stack).table()
            await keeper.add("/x", TARGET)
            server.kill()
            with pytest.raises(StoreUnavailable):
                await keeper.add("/y", TARGET)
            with pytest.raises(StoreUnavailable):
                await keeper.gather()
            await until(lambda: "store away" in caplog.text)
            assert list(table.all()) == ["/x"]
            await server.start()
            await until(lambda: not table.all())  # it kept nothing
            await keeper.add("/y", TARGET)
            assert list(table.all()) == ["/y"]
    finally:
        server.kill()


async def test_before_the_first_read_nothing_is_known() -> None:
    async with AsyncExitStack() as stack:
        table, keeper = await Hub(f"redis://127.0.0.1:{free_port()}", stack).table()
        assert not table.complete
        with pytest.raises(StoreUnavailable):
            await keeper.gather()
