"""A worker's part for names without a certificate, without a CA: nobody orders here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import pytest

from app.errors import FrontendNotFound
from app.routing import Route, parse_frontend
from app.stores import driver_for
from app.stores.issuance import IssuanceStore, Wish
from app.stores.routes import Routes
from app.tls.acme import new_names
from app.tls.acme.new_names import NewNames
from tests.ports import free_port
from tests.tls.test_client_hello import hello

PAIR = ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "a key")


class Below(Routes):
    """Every name below a.test has a frontend of its own."""

    ready = True

    def known(self, host: str) -> Route | None:
        return None

    async def find(self, host: str, target: bytes = b"/") -> Route:
        if not host.endswith(".a.test"):
            raise FrontendNotFound
        return Route(parse_frontend(host, ["id", "http://127.0.0.1:1"]))


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
    client.sendall(hello(name))
    has = (set() if certificates is None else certificates).__contains__
    began = monotonic()
    if (waiting := names.before_handshake(has, server)) is not None:
        await waiting
    return monotonic() - began


async def wished(store: IssuanceStore) -> None:
    """Until x.a.test is."""
    async with asyncio.timeout(10):
        while await store.wishes() != {"x.a.test": Wish.CLIENT}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # it tells nobody here


async def test_a_known_name_waits_for_nothing(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = NewNames(store, Below(), 60.0)
    for _ in range(2):
        assert await waited(names, "x.a.test", sockets, {"x.a.test"}) < 5
    assert await waited(names, "x.other.test", sockets) < 5
    assert await store.wishes() == {}


async def test_a_new_name_is_wished_for_and_waited_for_until_it_is_there(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names, there = NewNames(store, Below(), 60.0), set[str]()
    waiting = [asyncio.create_task(waited(names, "x.a.test", sockets, there)) for _ in range(5)]
    await wished(store)
    await store.hold("one", 60)
    await store.finish("one", "x.a.test", "", PAIR, "here")
    there.add("x.a.test")
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    await names.aclose()


async def test_where_nobody_orders_it_waits_once_and_not_again(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = NewNames(store, Below(), 0.5)
    assert 0.4 < await waited(names, "x.a.test", sockets) < 5
    assert await waited(names, "x.a.test", sockets) < 0.4
    assert await store.wishes() == {"x.a.test": Wish.CLIENT}


async def test_without_a_wait_it_is_wished_for_all_the_same(
    store: IssuanceStore, sockets: list[socket.socket]
) -> None:
    names = NewNames(store, Below(), 0.0)
    assert await waited(names, "x.a.test", sockets) < 0.4
    await wished(store)


async def test_there_is_a_limit_to_the_names_that_are_waited_for(
    store: IssuanceStore, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_names, "MOST_WAITED_FOR", 1)
    names = NewNames(store, Below(), 60.0)
    first = asyncio.create_task(waited(names, "x.a.test", sockets))
    await wished(store)
    assert await waited(names, "y.a.test", sockets) < 5
    await names.aclose()
    await first


async def test_a_store_that_is_away_holds_nobody_up(sockets: list[socket.socket]) -> None:
    store = driver_for((f"redis://127.0.0.1:{free_port()}",)).issuance("", timeout=1)
    names = NewNames(store, Below(), 60.0)
    assert await waited(names, "x.a.test", sockets) < 5
    await names.aclose()
