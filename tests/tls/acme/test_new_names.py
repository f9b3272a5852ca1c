"""A worker's part for names without a certificate, without a CA: nobody orders here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from app.errors import FrontendNotFound
from app.routing import Route, parse_frontend
from app.stores import driver_for
from app.stores.issuance import IssuanceState, IssuanceStore, Wish
from app.stores.routes import Routes
from app.tls.acme import new_names
from app.tls.acme.new_names import NewNames
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.tls.test_client_hello import hello_like

PAIR = ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "a key")


class Below(Routes):
    """Every name below a.test has a frontend of its own; those below wild.test share one."""

    ready = True

    def known(self, host: str) -> Route | None:
        return None

    async def find(self, host: str, target: bytes = b"/") -> Route:
        lines = ["id", "http://127.0.0.1:1"]
        if host.endswith(".wild.test"):
            return Route(parse_frontend("*.wild.test", lines, options={"acme": "on"}))
        if not host.endswith(".a.test"):
            raise FrontendNotFound
        return Route(parse_frontend(host, lines))


def new_names_of(store: IssuanceStore, wait: float = 60.0, client: str | None = None) -> NewNames:
    return NewNames(store, Below(), wait, lambda address: client)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[IssuanceStore]:
    found = driver_for((f"file:{tmp_path}/routes.toml",)).issuance(str(tmp_path), timeout=1)
    yield found
    await found.aclose()


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    found: list[socket.socket] = []
    yield found
    for sock in found:
        sock.close()


async def waited(
    names: NewNames, name: str, sockets: list[socket.socket], certificates: set[str] | None = None
) -> float:
    """Seconds that the handshake of a client of this name waits."""
    client, server = socket.socketpair()
    sockets += [client, server]
    server.setblocking(False)
    client.sendall(hello_like(name))
    has = (set() if certificates is None else certificates).__contains__
    began = monotonic()
    if (waiting := names.before_handshake(has, server)) is not None:
        await waiting
    return monotonic() - began


async def wished(store: IssuanceStore, *names: str) -> None:
    """Until these are."""
    async with asyncio.timeout(10):
        while await store.wishes() != dict.fromkeys(names, Wish.CLIENT):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # it tells nobody here


async def test_a_known_name_waits_for_nothing(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = new_names_of(store)
    for _ in range(2):
        assert await waited(names, "x.a.test", sockets, {"x.a.test"}) < 5
    assert await waited(names, "x.other.test", sockets) < 5
    assert await store.wishes() == {}


async def test_a_new_name_is_wished_for_and_waited_for_until_it_is_there(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names, there = new_names_of(store), set[str]()
    waiting = [asyncio.create_task(waited(names, "x.a.test", sockets, there)) for _ in range(5)]
    await wished(store, "x.a.test")
    await store.hold("one", 60)
    await store.finish("one", "x.a.test", "", PAIR, "here")
    there.add("x.a.test")
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    await names.aclose()


async def test_where_nobody_orders_it_waits_once_and_not_again(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = new_names_of(store, 0.5)
    assert 0.4 < await waited(names, "x.a.test", sockets) < 5
    assert await waited(names, "x.a.test", sockets) < 0.4
    assert await store.wishes() == {"x.a.test": Wish.CLIENT}


async def test_without_a_wait_it_is_wished_for_all_the_same(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = new_names_of(store, 0.0)
    assert await waited(names, "x.a.test", sockets) < 0.4
    await wished(store, "x.a.test")


async def test_there_is_a_limit_to_invented_names_and_none_to_those_with_a_frontend(
    store: IssuanceStore, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_names, "MOST_WAITED_FOR", 1)
    names = new_names_of(store)
    first = asyncio.create_task(waited(names, "x.wild.test", sockets))
    await wished(store, "x.wild.test")
    assert await waited(names, "y.wild.test", sockets) < 5
    own = asyncio.create_task(waited(names, "x.a.test", sockets))
    await wished(store, "x.wild.test", "x.a.test")
    assert not own.done()
    await names.aclose()
    await asyncio.gather(first, own)


async def test_one_client_takes_no_more_than_its_share_of_the_places(
    store: IssuanceStore, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_names, "MOST_OF_A_CLIENT", 2)
    client = "198.51.100.1"
    names = NewNames(store, Below(), 60.0, lambda address: client)

    async def invented(*labels: str) -> list[asyncio.Task[float]]:
        tasks = [
            asyncio.create_task(waited(names, f"{label}.wild.test", sockets)) for label in labels
        ]
        async with asyncio.timeout(10):
            every = {f"{label}.wild.test" for label in labels}
            while not every <= (await store.wishes()).keys():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return tasks

    tasks = await invented("1", "2")
    assert await waited(names, "3.wild.test", sockets) < 5
    client = "198.51.100.2"
    tasks += await invented("4")
    assert not any(task.done() for task in tasks)
    await names.aclose()
    await asyncio.gather(*tasks)
    assert "3.wild.test" not in await store.wishes()


async def test_one_that_fails_ends_the_wait_and_the_others_wait_on(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = new_names_of(store)
    one, two = (asyncio.create_task(waited(names, f"{n}.a.test", sockets)) for n in "xy")
    await wished(store, "x.a.test", "y.a.test")
    await store.hold("one", 60)
    await store.fail("one", "x.a.test", IssuanceState(error="no"))
    await asyncio.wait_for(one, 10)
    assert not two.done()
    await names.aclose()
    await two


async def test_many_names_are_looked_for_by_a_few_reads(
    valkey: RedisServer, sockets: list[socket.socket]
) -> None:
    """Redis counts commands: two for each look at all of them."""
    store = driver_for((valkey.url,)).issuance("", timeout=5)
    names, labels = new_names_of(store), [f"{n}.a.test" for n in range(100, 170)]
    waiting = [asyncio.create_task(waited(names, label, sockets)) for label in labels]
    await wished(store, *labels)
    async with valkey.client as client, asyncio.timeout(20):
        while not names._arrivals._tracked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        before = await commands(client)
        await asyncio.sleep(1)
        assert await commands(client) - before < 70
    await names.aclose()
    await asyncio.gather(*waiting)


async def commands(client: Any) -> int:
    return int((await client.info("stats"))["total_commands_processed"])


async def test_a_store_that_is_away_holds_nobody_up(sockets: list[socket.socket]) -> None:
    store = driver_for((f"redis://127.0.0.1:{free_port()}",)).issuance("", timeout=1)
    names = new_names_of(store)
    assert await waited(names, "x.a.test", sockets) < 5
    await names.aclose()
