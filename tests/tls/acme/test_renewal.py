"""Certificates are renewed in time, and nobody notices."""

from __future__ import annotations

import asyncio
import signal
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.backends import ScriptedBackend
from tests.redis_servers import RedisServer, until
from tests.tls.acme.ca import AcmeCA
from tests.tls.acme.load import ENDING, ask, asking_for_ever, put, told
from tests.tls.acme.serving import Proxy, names_in, proxy
from tests.tls.acme.test_serving import acme_of, option, route


async def renewed(one: Proxy, name: str, ca: AcmeCA) -> x509.Certificate:
    """The certificate of this name, once it is the CA's."""
    async with asyncio.timeout(30):
        while (shown := await one.certificate(name)).issuer != ca.name:
            pass
    return shown


async def test_which_certificates_are_renewed(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca, names = served_ca, ("ours.test", "hand.test", "wanted.test", "off.test", "fresh.test")
    await route(valkey, backend, *names)
    await option(valkey, "wanted.test", "on")
    await option(valkey, "off.test", "off")
    await put(valkey, "ours.test", ENDING, ca.directory)
    await put(valkey, "hand.test", ENDING, None)
    await put(valkey, "wanted.test", ENDING, None)
    await put(valkey, "off.test", ENDING, ca.directory)
    await put(valkey, "gone.test", ENDING, ca.directory)
    await put(valkey, "fresh.test", timedelta(days=1), ca.directory)
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca), http=ca.http_port) as one:
        await until(lambda: ca.issued("ours.test") and ca.issued("wanted.test"), seconds=30)
        # One that is put there while it runs is noticed.
        await put(valkey, "fresh.test", ENDING, ca.directory)
        await until(lambda: ca.issued("fresh.test"), seconds=30)
        for name in ("ours.test", "wanted.test"):
            assert names_in(await renewed(one, name, ca)) == [name]
        assert (await one.certificate("hand.test")).issuer != ca.name
        assert {order.name for order in ca.orders} == {"ours.test", "wanted.test", "fresh.test"}


async def test_the_ca_says_when(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, "a.test", "b.test")
    await put(valkey, "a.test", timedelta(days=1), ca.directory)
    await put(valkey, "b.test", timedelta(days=1), None)
    past = datetime.now(UTC) - timedelta(hours=2)
    ca.window = past, past + timedelta(hours=1)
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca), http=ca.http_port) as one:
        await renewed(one, "a.test", ca)
        asked = sum(path.startswith("/advice/") for path in ca.asked)
        await until(lambda: sum(path.startswith("/advice/") for path in ca.asked) > asked)
        assert ca.ordered("a.test") == 1  # the next one has time, whatever the CA says
        assert ca.ordered("b.test") == 0
        [order] = ca.orders
        assert any(path == f"/advice/{order.replaces}" for path in ca.asked)


async def test_names_are_renewed_under_load(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    await renewed_under_load(tmp_path, valkey, backend, served_ca, names=10)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_hundred_names_are_renewed_under_load(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    await renewed_under_load(tmp_path, valkey, backend, served_ca, names=100)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_ca_that_is_away_for_a_minute_costs_known_names_nothing(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca, known = served_ca, [f"n{number}.test" for number in range(5)]
    await route(valkey, backend, *known, "new.test")
    for name in known:
        await put(valkey, name, timedelta(days=1), ca.directory)
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca), http=ca.http_port) as one:
        ca.stop()
        async with asking_for_ever([one], known, set()) as times:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await ask(one, "new.test", set())
            await asyncio.sleep(60)
        assert len(times) > 100
        ca.start()
        async with asyncio.timeout(120):
            while ca.issued("new.test") == 0:
                with suppress(ConnectionError, ssl.SSLError):
                    await ask(one, "new.test", set())
                await asyncio.sleep(0.5)


async def renewed_under_load(
    folder: Path, valkey: RedisServer, backend: ScriptedBackend, ca: AcmeCA, *, names: int
) -> None:
    all_names = [f"n{number}.test" for number in range(names)]
    await route(valkey, backend, *all_names)
    for name in all_names:
        await put(valkey, name, timedelta(days=1), ca.directory)
    acme = acme_of(ca, ordersPerHour=1000)
    async with (
        proxy(folder / "one", valkey.url, acme, http=ca.http_port) as one,
        proxy(folder / "two", valkey.url, acme) as two,
    ):
        async with asking_for_ever([one, two], all_names, set()) as before:
            await until(lambda: len(before) >= 10 * names, seconds=100)
        for name in all_names:
            await put(valkey, name, ENDING, ca.directory)
        shown: set[str] = set()
        async with asking_for_ever([one, two], all_names, shown) as times:
            await until(lambda: len(shown) == names, seconds=200)
        assert {ca.ordered(name) for name in all_names} == {1}
        for each in (one, two):
            each.service.signal(signal.SIGTERM)
            assert await each.service.ended() == 0
            assert "level=error" not in "".join(each.service.log)
        print(f"before: {told(before)}; during: {told(times)}")
