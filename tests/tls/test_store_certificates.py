"""Certificates in the store, asked for in the middle of a handshake: nobody waits for long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
import trustme

from app.stores import driver_for
from app.stores.certificate_store import NO_PAIR
from app.tls import store_certificates
from app.tls.store_certificates import LONGEST_WAIT, OLD, StoreCertificates
from tests.redis_servers import RedisServer, until
from tests.tls.authority import EXACT, OTHER, WILD, chain, private
from tests.tls.serving import secured

PAIR = ("a certificate", "a key")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A store of our own with two wildcards, for what harms it."""
    server = await RedisServer(tmp_path).start()
    async with server.client as client:
        for name in ("*.wild.test", "*.other.test"):
            await client.hset(f"tls:{name}", mapping={"certificate": PAIR[0], "key": PAIR[1]})
    yield server
    server.kill()


@contextmanager
def certificates(store: RedisServer) -> Iterator[StoreCertificates]:
    """Warmed up: connected, and told what changes."""
    found = StoreCertificates.of(driver_for((store.url,)))
    assert found is not None
    try:
        while not found._tracked:
            found.pair("a")  # which starts it all
        while found.pair("*.wild.test") != PAIR:
            pass
        yield found
    finally:
        found.close()
        assert "certificates" not in {thread.name for thread in threading.enumerate()}


def timed(found: StoreCertificates, name: str) -> tuple[tuple[str, str], float]:
    began = monotonic()
    return found.pair(name), monotonic() - began


async def test_a_store_that_hangs_holds_a_handshake_up_for_a_moment_and_only_once(
    store: RedisServer,
) -> None:
    with certificates(store) as found:
        store.pause()
        pair, took = timed(found, "a.test")
        assert (pair, LONGEST_WAIT) == (NO_PAIR, 0.05)
        assert LONGEST_WAIT <= took < 10 * LONGEST_WAIT  # the connection would wait a second
        pair, took = timed(found, "b.test")
        assert pair == NO_PAIR
        assert took < LONGEST_WAIT
        assert found.pair("*.wild.test") == PAIR


async def test_the_wildcard_comes_with_the_answer_for_the_name(store: RedisServer) -> None:
    with certificates(store) as found:
        assert found.pair("www.other.test") == NO_PAIR
        store.pause()
        pair, took = timed(found, "*.other.test")
        assert pair == PAIR
        assert took < LONGEST_WAIT


async def test_names_without_a_certificate_push_out_none_that_has_one(
    store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_certificates, "MOST_WITHOUT", 4)
    with certificates(store) as found:
        for number in range(20):
            assert found.pair(f"{number}.test") == NO_PAIR
        assert len(found._known) == 1 + 4
        store.pause()
        assert found.pair("*.wild.test") == PAIR


async def test_what_is_read_again_and_has_not_changed_is_there_once(store: RedisServer) -> None:
    with certificates(store) as found:
        before = found.pair("*.wild.test")
        found.changed(None)
        while found._known["*.wild.test"][1] == OLD:
            found.pair("*.wild.test")
        assert found.pair("*.wild.test") is before


async def test_what_changed_and_cannot_be_read_in_time_is_served_as_it_was(
    store: RedisServer,
) -> None:
    with certificates(store) as found:
        store.pause()
        assert found._loop is not None
        found._loop.call_soon_threadsafe(found.changed, ["*.wild.test"])
        await until(lambda: found._known["*.wild.test"][1] == OLD)
        assert found.pair("*.wild.test") == PAIR
        store.resume()
        async with store.client as client:
            await client.hset("tls:*.wild.test", "certificate", "another")
        await until(lambda: found.pair("*.wild.test") == ("another", PAIR[1]), seconds=10)


async def test_what_changed_is_read_before_a_client_asks(store: RedisServer) -> None:
    with certificates(store) as found:
        async with store.client as client:
            await client.hset("tls:*.wild.test", "certificate", "another")
        await until(lambda: found._known["*.wild.test"][0][0] == "another")
        store.pause()
        pair, took = timed(found, "*.wild.test")
        assert pair == ("another", PAIR[1])
        assert took < LONGEST_WAIT


async def test_a_key_of_another_kind_is_named_and_keeps_nobody_else_from_theirs(
    store: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with store.client as client:
        await client.set("tls:a.wild.test", "of somebody else")
    with certificates(store) as found:
        assert found.pair("a.wild.test") == NO_PAIR
        assert found.pair("other.test") == NO_PAIR
        assert found._pause_until == 0
    assert "certificate not read name=a.wild.test cause=WRONGTYPE" in caplog.text


async def test_certificates_come_from_the_store(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here, valkey.client as client:

        async def put(name: str, cert: trustme.LeafCert) -> None:
            pair = {"certificate": chain(cert), "key": private(cert)}
            await client.hset(f"tls:{name}", mapping=pair)

        async def shows(name: str, shown: str) -> None:
            async with asyncio.timeout(10):
                while await here.certificate(name) != shown:
                    pass

        await put("*.wild.test", WILD)
        await put("a.test", EXACT)
        await shows("a.test", "a.test")
        await shows("b.wild.test", "*.wild.test")
        assert await here.certificate("unknown.test") == "default.test"
        await put("a.test", OTHER)
        await shows("a.test", "changed.test")
        await client.hset("tls:a.test", "key", private(EXACT))
        told = asyncio.create_task(here.service.saw("refused.*tls:a.test: the key does not fit"))
        while not told.done():
            assert await here.certificate("a.test") == "changed.test"
        await told
