"""Contexts of the store's certificates do not stay for ever."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial
from time import monotonic

import pytest
import trustme

from app.stores import driver_for
from app.tls import last_used
from app.tls.store_certificates import StoreCertificates
from app.tls.store_source import StoreSource
from tests.redis_servers import RedisServer, until
from tests.tls.authority import EXACT, OTHER, chain, private

NAMES = ("a.test", "b.test", "c.test")
new = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_SERVER)


@pytest.fixture
async def filled(valkey: RedisServer) -> RedisServer:
    for name in NAMES:
        await put(valkey, name, EXACT)
    return valkey


async def put(valkey: RedisServer, name: str, cert: trustme.LeafCert) -> None:
    async with valkey.client as client:
        fields = {"certificate": chain(cert), "key": private(cert)}
        await client.hset(f"tls:{name}", mapping=fields)


@pytest.fixture
def certificates(filled: RedisServer) -> Iterator[StoreCertificates]:
    """Told what changes."""
    found = StoreCertificates.of(driver_for((filled.url,)))
    assert found is not None
    try:
        while not found._tracked:
            found.pair("a")  # which starts it all
        yield found
    finally:
        found.close()


def context(source: StoreSource, name: str) -> ssl.SSLContext:
    """Of a name that has one, however late the store answers."""
    until_then = monotonic() + 10
    while (made := source.context(name)) is None:
        assert monotonic() < until_then
    return made


async def test_one_whose_certificate_is_removed_goes_though_nobody_asks(
    certificates: StoreCertificates, filled: RedisServer
) -> None:
    source, other = (StoreSource(certificates, new, 0) for _ in range(2))
    for each in (source, other):
        for name in ("a.test", "b.test"):
            context(each, name)
    async with filled.client as client:
        await client.delete("tls:a.test")
    await until(lambda: [*source._contexts, *other._contexts] == ["b.test"] * 2, seconds=10)


async def test_one_is_made_again_after_a_change_only(
    certificates: StoreCertificates, filled: RedisServer
) -> None:
    source = StoreSource(certificates, new, 0)
    before = context(source, "a.test")
    assert context(source, "a.test") is before
    await put(filled, "a.test", OTHER)
    await until(lambda: source.context("a.test") is not before, seconds=10)
    assert len(source._contexts) == 1


async def test_the_one_that_was_used_first_makes_room(certificates: StoreCertificates) -> None:
    source = StoreSource(certificates, new, 2)
    first = context(source, "a.test")
    for name in ("b.test", "a.test", "c.test"):
        context(source, name)
    assert list(source._contexts) == ["a.test", "c.test"]
    assert context(source, "a.test") is first
    assert "b.test" not in certificates._known
    context(source, "b.test")
    assert list(source._contexts) == ["a.test", "b.test"]


async def test_one_that_is_not_used_goes(
    certificates: StoreCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = StoreSource(certificates, new, 0)
    context(source, "a.test")
    monkeypatch.setattr(last_used, "UNUSED_FOR", -1.0)
    context(source, "b.test")
    assert list(source._contexts) == ["b.test"]
