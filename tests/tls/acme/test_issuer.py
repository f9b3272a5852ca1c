"""When the process that orders certificates asks a CA, and when it leaves it in peace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from hashlib import sha256

import pytest

from app.config.acme import AcmeConfig
from app.stores import driver_for
from app.stores.issuance import IssuanceState, IssuanceStore, Wish
from app.tls.acme.issuer import READ_ALL_EVERY, Issuer
from tests.redis_servers import RedisServer, until
from tests.tls.acme.ca import AcmeCA, Problem
from tests.tls.acme.load import ENDING, put

NAME = "a.test"


class Clock:
    """What the process takes for the time."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def issuer(
    ca: AcmeCA, url: str, clock: Callable[[], float]
) -> AsyncIterator[tuple[IssuanceStore, Issuer]]:
    """One that runs, and a store of the test's own."""
    driver = driver_for((url,))
    store, ours = (driver.issuance("", timeout=5) for _ in range(2))
    table = driver.table()
    settings = AcmeConfig(agree=True, directory=ca.directory, ca=ca.ca)
    one = Issuer(settings, store, table, "one", clock=clock)
    running = asyncio.create_task(one.run())
    try:
        yield ours, one
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        for each in (store, ours, table):
            await each.aclose()


async def frontend(valkey: RedisServer, name: str) -> None:
    async with valkey.client as client:
        await client.rpush(f"frontend:{name}", "id", "http://127.0.0.1:1")


async def failed(store: IssuanceStore, name: str) -> IssuanceState:
    """What is kept of the failure, once there is one."""
    async with asyncio.timeout(20):
        while (state := (await store.progress(name)).state) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return state


async def test_a_ca_that_fails_is_left_in_peace_as_long_as_it_says(
    valkey: RedisServer, served_ca: AcmeCA
) -> None:
    """The lease is given away meanwhile: another machine may reach it."""
    ca, clock = served_ca, Clock()
    ca.refuse["new-order"] = Problem("rateLimited", 429, Retry_After="900")
    await frontend(valkey, NAME)
    await frontend(valkey, "b.test")
    async with issuer(ca, valkey.url, clock) as (store, one):
        assert await store.wish(NAME, Wish.CLIENT)
        state = await failed(store, NAME)
        assert state.error.startswith("rateLimited: ")
        assert state.failures == ()  # the name is not to blame
        assert 800 < state.not_before - time.time() <= 900
        asked = len(ca.asked)
        async with asyncio.timeout(20):
            while not await store.hold("another", 0.01):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # nobody tells when it is given away
        assert await store.wish("b.test", Wish.ORDER)
        clock.ahead = 500.0
        await one._hold()
        assert not one._held
        assert len(ca.asked) == asked
        del ca.refuse["new-order"]
        clock.ahead = 1000.0
        await until(lambda: ca.ordered("b.test"))


async def test_an_account_that_cannot_be_read_is_named_without_its_key(
    valkey: RedisServer, served_ca: AcmeCA, caplog: pytest.LogCaptureFixture
) -> None:
    await frontend(valkey, NAME)
    async with issuer(served_ca, valkey.url, Clock()) as (store, _), valkey.client as client:
        kept = f"acme:account:{sha256(served_ca.directory.encode()).hexdigest()[:16]}"
        await client.set(kept, json.dumps({"key": '{"kty": "EC", "d": "planted"}'}))
        assert await store.wish(NAME, Wish.ORDER)
        state = await failed(store, NAME)
    assert state.error.startswith("the account in the store cannot be read")
    assert "planted" not in state.error + caplog.text
    assert served_ca.asked == []


async def test_where_no_change_is_reported_all_are_read_every_half_a_minute(
    valkey: RedisServer, served_ca: AcmeCA
) -> None:
    ca, clock = served_ca, Clock()
    await frontend(valkey, NAME)
    async with valkey.client as client:
        user = ["ACL", "SETUSER", "proxy", "on", "nopass", "+@all", "-client|tracking", "~*", "&*"]
        await client.execute_command(*user)
    url = f"redis://proxy:x@127.0.0.1:{valkey.port}"
    await put(valkey, NAME, timedelta(days=1), ca.directory)
    async with issuer(ca, url, clock) as (_, one):
        await until(lambda: len(one._schedule))
        assert not one._tracked
        await put(valkey, NAME, ENDING, ca.directory)
        clock.ahead = READ_ALL_EVERY + 1
        await until(lambda: ca.ordered(NAME))
    async with valkey.client as client:
        await client.acl_deluser("proxy")
