"""What those share who get certificates: the same promises by Redis and by a folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.stores import driver_for
from app.stores.issuance import IssuanceState, IssuanceStore, OrderEnd, Standing, Wish
from tests.ports import free_port
from tests.redis_cluster import Cluster
from tests.redis_servers import RedisServer

NAME, PAIR = "a.test", ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "a key")
MARK = "https://127.0.0.1/directory"
NOTHING = (False, None)
STATE = IssuanceState(error="it failed", failures=(1.0, 2.0), not_before=3.0)


@pytest.fixture(params=["redis", "cluster", "file"])
async def url(
    request: pytest.FixtureRequest, valkey: RedisServer, shared_cluster: Cluster, tmp_path: Path
) -> str:
    if request.param == "cluster":
        await shared_cluster.empty()
    urls = {
        "redis": f"{valkey.url}#p:",
        "cluster": f"{shared_cluster.url}#p:",
        "file": f"file:{tmp_path}/routes.toml",
    }
    return urls[request.param]


@pytest.fixture
async def store(url: str, tmp_path: Path) -> AsyncIterator[IssuanceStore]:
    found = driver_for((url,)).issuance(str(tmp_path / "acme"), timeout=5)
    yield found
    await found.aclose()


async def other(url: str, tmp_path: Path) -> IssuanceStore:
    return driver_for((url,)).issuance(str(tmp_path / "acme"), timeout=5)


async def test_one_holds_the_lease_and_only_the_holder_writes(
    store: IssuanceStore, url: str, tmp_path: Path
) -> None:
    second = await other(url, tmp_path)
    assert await store.hold("one", 60)
    assert await store.hold("one", 60)
    assert not await second.hold("two", 60)
    assert (await second.begin("two", NAME, "", 50)).reason == "lost"
    assert await second.finish("two", NAME, "", PAIR, MARK) is OrderEnd.LOST
    assert await second.keep_account("two", MARK, "an account", first=False) == ""
    assert not await second.fail("two", NAME, STATE)
    assert await store.stands(NAME) is None
    await store.release("one")
    assert await second.hold("two", 60)
    assert await store.finish("one", NAME, "", PAIR, MARK) is OrderEnd.LOST
    assert await second.finish("two", NAME, "", PAIR, MARK) is OrderEnd.WRITTEN
    await second.aclose()


async def test_a_result_ends_wish_and_failures(store: IssuanceStore) -> None:
    assert await store.hold("one", 60)
    assert await store.wish(NAME, Wish.CLIENT)
    assert await store.fail("one", NAME, STATE)
    assert await store.wishes() == {}
    assert await store.states() == {NAME: STATE}
    assert await store.progress(NAME) == (False, STATE)
    assert await store.progress_of([NAME, "b.test"]) == {NAME: (False, STATE), "b.test": NOTHING}
    await store.wish(NAME, Wish.ORDER)
    assert await store.finish("one", NAME, "", PAIR, MARK) is OrderEnd.WRITTEN
    assert await store.wishes() == {}
    assert await store.states() == {}
    stands = await store.stands(NAME)
    assert stands == Standing(PAIR[0], MARK)
    assert await store.progress(NAME) == (True, None)
    assert await store.progress_of(["b.test", NAME]) == {"b.test": NOTHING, NAME: (True, None)}
    assert [each async for each in store.standing()] == [(NAME, stands)]
    assert await store.remove(NAME)
    assert not await store.remove(NAME)
    assert await store.stands(NAME) is None


async def test_an_order_begins_from_what_was_seen_and_within_the_budget(
    store: IssuanceStore,
) -> None:
    assert await store.hold("one", 60)
    assert (await store.begin("one", NAME, PAIR[0], 3)).reason == "changed"
    await store.finish("one", NAME, "", PAIR, MARK)
    assert (await store.begin("one", NAME, "", 3)).reason == "changed"
    for name, seen in ((NAME, PAIR[0]), ("b.test", ""), ("c.test", "")):
        assert (await store.begin("one", name, seen, 3)).begun
    late = await store.begin("one", "d.test", "", 3)
    assert not late.begun
    assert 3500 < late.wait <= 3600


async def test_what_was_put_there_or_removed_during_an_order_is_left_alone(
    store: IssuanceStore,
) -> None:
    by_hand = (PAIR[0].replace("x", "by hand"), "another key")
    assert await store.hold("one", 60)
    assert (await store.begin("one", NAME, "", 50)).begun
    assert await store.finish("one", NAME, "", by_hand, "another") is OrderEnd.WRITTEN
    await store.wish(NAME, Wish.CLIENT)
    assert await store.finish("one", NAME, "", PAIR, MARK) is OrderEnd.CHANGED
    assert await store.stands(NAME) == Standing(by_hand[0], "another")
    assert await store.wishes() == {}
    await store.remove(NAME)
    assert await store.finish("one", NAME, by_hand[0], PAIR, MARK) is OrderEnd.CHANGED
    assert await store.stands(NAME) is None


async def test_a_person_s_wish_counts_more_than_a_client_s(store: IssuanceStore) -> None:
    await store.wish(NAME, Wish.CLIENT)
    await store.wish(NAME, Wish.RENEW)
    await store.wish(NAME, Wish.CLIENT)
    assert await store.wishes() == {NAME: Wish.RENEW}
    await store.drop_wish(NAME)
    assert await store.wishes() == {}


async def test_wishes_are_bounded(store: IssuanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.stores.issuance.MOST_WISHES", 2)
    assert [await store.wish(f"{n}.test", Wish.CLIENT) for n in range(3)] == [True, True, False]
    assert await store.wish("0.test", Wish.CLIENT)
    assert await store.wish("3.test", Wish.ORDER), "clients keep no person from what they want"
    assert not await store.wish("4.test", Wish.CLIENT)


async def test_names_below_wildcards_take_half_of_the_room(
    store: IssuanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.stores.issuance.MOST_WISHES", 4)
    taken = [await store.wish(f"{n}.wild.test", Wish.CLIENT, own=False) for n in range(3)]
    assert taken == [True, True, False]
    assert [await store.wish(f"{n}.test", Wish.CLIENT) for n in range(3)] == [True, True, False]


async def test_names_below_wildcards_are_refused_for_a_while_and_others_never(
    store: IssuanceStore,
) -> None:
    assert await store.wish(NAME, Wish.CLIENT, own=False)
    await store.refuse_below_wildcards(3600)
    assert await store.wish(NAME, Wish.CLIENT, own=False), "it is wished for already"
    assert not await store.wish("b.test", Wish.CLIENT, own=False)
    assert await store.wish("b.test", Wish.ORDER, own=False)
    assert await store.wish("own.test", Wish.CLIENT)
    await store.refuse_below_wildcards(0.001)
    async with asyncio.timeout(10):
        while not await store.wish("c.test", Wish.CLIENT, own=False):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_clients_wish_is_forgotten(
    store: IssuanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.wish(NAME, Wish.CLIENT)
    await store.wish("b.test", Wish.ORDER)
    at = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: at)
    assert await store.wishes() == {"b.test": Wish.ORDER}
    monkeypatch.undo()
    assert await store.wishes() == {"b.test": Wish.ORDER}


async def test_two_that_begin_together_agree_on_one_account(store: IssuanceStore) -> None:
    assert await store.hold("one", 60)
    assert await store.account(MARK) is None
    assert await store.keep_account("one", MARK, "one", first=True) == "one"
    assert await store.keep_account("one", MARK, "two", first=True) == "one"
    assert await store.keep_account("one", MARK, "one, known to the CA", first=False)
    assert await store.account(MARK) == "one, known to the CA"
    assert await store.account(f"{MARK}/another") is None


async def test_a_challenge_is_answered_until_it_is_over(store: IssuanceStore) -> None:
    await store.put_challenge("token", "answer", 60)
    assert await store.challenge("token") == "answer"
    await store.drop_challenge("token")
    assert await store.challenge("token") is None
    await store.put_challenge("token", "answer", 0.001)
    async with asyncio.timeout(5):
        while await store.challenge("token") is not None:
            pass


class Heard:
    def __init__(self) -> None:
        self.begun, self.wish = asyncio.Event(), asyncio.Event()
        self.names: asyncio.Queue[str] = asyncio.Queue()

    def tracking(self) -> None:
        self.begun.set()

    def lost(self, reason: str) -> None:
        pass

    def wished(self) -> None:
        self.wish.set()

    def changed(self, names: Sequence[str] | None) -> None:
        for name in names or ():
            self.names.put_nowait(name)


async def test_wishes_and_changes_are_reported(store: IssuanceStore) -> None:
    heard = Heard()
    watching = asyncio.create_task(store.watch(heard))
    async with asyncio.timeout(10):
        await heard.begun.wait()
        await store.hold("one", 60)
        while not heard.wish.is_set():  # a folder may be written before it is watched
            await store.wish(NAME, Wish.RENEW)
            await asyncio.sleep(0.1)
        await store.finish("one", NAME, "", PAIR, MARK)
        assert await heard.names.get() == NAME
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def test_a_store_that_is_away_says_so() -> None:
    away = driver_for((f"redis://127.0.0.1:{free_port()}",)).issuance("", timeout=1)
    with pytest.raises(StoreUnavailable):
        await away.progress(NAME)
    with pytest.raises(StoreUnavailable):
        await away.hold("one", 1)
    await away.aclose()


async def test_what_somebody_else_keeps_there_is_never_written_over(valkey: RedisServer) -> None:
    found = driver_for((valkey.url,)).issuance("", timeout=5)
    async with valkey.client as client:
        await client.set(f"tls:{NAME}", "of somebody else")
        await found.hold("one", 60)
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            await found.begin("one", NAME, "", 50)
        assert await client.get(f"tls:{NAME}") == "of somebody else"
    await found.aclose()
