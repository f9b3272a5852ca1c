"""The same at Let's Encrypt's own test CA, which is strict and refuses every fifth good nonce."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.backends import ScriptedBackend
from tests.ports import free_port
from tests.redis_servers import RedisServer, until
from tests.tls.acme.load import ENDING, asking_for_ever, put
from tests.tls.acme.pebble import Pebble, needs_pebble, pebble
from tests.tls.acme.serving import Proxy, kill_all, names_in, proxy
from tests.tls.acme.test_serving import acme_of, route

FIRST, LATER, LAST = "www.example.test", "later.example.test", "last.example.test"
ISSUER = b"Pebble Intermediate CA"


@needs_pebble
async def test_a_fleet_at_pebble(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend
) -> None:
    await a_fleet(tmp_path, valkey, backend, renewals=4, away=0.5)


@needs_pebble
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_fleet_at_pebble_that_is_away_for_a_minute_and_renews_a_hundred(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend
) -> None:
    await a_fleet(tmp_path, valkey, backend, renewals=100, away=60)


async def a_fleet(
    folder: Path, valkey: RedisServer, backend: ScriptedBackend, *, renewals: int, away: float
) -> None:
    """One pair of proxies for all of it: to start them is what takes long."""
    port, names = free_port(), [f"n{number}.test" for number in range(renewals)]
    await route(valkey, backend, FIRST, LATER, LAST, *names)
    for name in names:
        await put(valkey, name, ENDING, None)  # nobody renews them yet
    async with (
        pebble(folder, port) as ca,
        proxy(folder / "one", valkey.url, acme_of(ca, ordersPerHour=1000)) as one,
        proxy(folder / "two", valkey.url, acme_of(ca, ordersPerHour=1000), http=port) as two,
    ):
        await fifty_clients_cause_one_order(ca, [one, two])
        async with asking_for_ever([one, two], [FIRST, *names], set()):
            ca.kill()
            await asyncio.sleep(away)
        await ca.start()
        await one_order_though_it_has_forgotten_the_account(ca, one)
        await renewed_under_load(ca, valkey, [one, two], names)
        await killed_in_the_middle_of_an_order(ca, valkey, one, two)


async def fifty_clients_cause_one_order(ca: Pebble, proxies: list[Proxy]) -> None:
    began = monotonic()
    asked = [each.certificate(FIRST) for each in proxies for _ in range(25)]
    shown = await asyncio.gather(*asked)
    assert monotonic() - began < 5
    assert names_in(shown[0]) == [FIRST]
    assert len({each.serial_number for each in shown}) == 1
    assert (ca.ordered, ca.issued) == (1, 1)


async def one_order_though_it_has_forgotten_the_account(ca: Pebble, one: Proxy) -> None:
    assert names_in(await one.certificate(LATER)) == [LATER]
    assert (ca.ordered, ca.issued) == (2, 2)


async def renewed_under_load(
    ca: Pebble, valkey: RedisServer, proxies: list[Proxy], names: list[str]
) -> None:
    shown: set[str] = set()
    async with asking_for_ever(proxies, names, shown, ISSUER):
        for name in names:
            await put(valkey, name, ENDING, ca.directory)
        await until(lambda: len(shown) == len(names), seconds=200)
    assert ca.issued == ca.ordered == 2 + len(names)


async def killed_in_the_middle_of_an_order(
    ca: Pebble, valkey: RedisServer, one: Proxy, two: Proxy
) -> None:
    """The one that orders is killed while the CA looks for the name: all of `one`, or that process
    of `two`, where the CA asks."""
    before = ca.issued
    async with valkey.client as client:
        await client.delete(*await client.keys("acme:challenge:*") or ["-"])
        ca.names(signal.SIGSTOP)
        holder = await client.get("acme:lease")
        asking = asyncio.create_task(two.certificate(LAST))
        async with asyncio.timeout(20):
            while not await client.keys("acme:challenge:*"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # no key of a test's own tells
        _kill_holder(holder, one)
        ca.names(signal.SIGCONT)
        assert names_in(await asking) == [LAST]
        assert ca.issued == before + 1
        assert await client.get("acme:lease") != holder
        assert await client.exists("acme:wanted") == 0
        assert "acme" in await client.hgetall(f"tls:{LAST}")


def _kill_holder(holder: str, one: Proxy) -> None:
    pid = int(holder.split(":")[1])
    if pid in one.service.workers():
        kill_all(one)
    else:
        os.kill(pid, signal.SIGKILL)
