"""Workers of one proxy that share a tracking connection: each is told of every change."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis.asyncio

from app.stores import CachedStore
from app.stores.redis.listening import news_teller, shared_tracker
from app.stores.redis.listening.listening_seat import ListeningSeat
from app.stores.redis.presence import wait_for_all
from app.system import kernel_locks
from app.system.shared_folder import memory_folder
from tests.redis_servers import RedisServer, until
from tests.stores.redis.listening.sibling import opened, sibling, url_of
from tests.stores.redis.test_stand_ins import CLOSES, before

HOST = "a.example"
PATIENCE = 20.0
"""Seconds on a machine that has much else to do; most of it is a matter of milliseconds."""
Worker = Callable[[], Awaitable[CachedStore]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = await RedisServer(tmp_path).start()
    await write(server, 0)
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens for itself tries to share again after a moment."""
    monkeypatch.setattr(shared_tracker, "ALONE_FOR", 0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """What the workers have in common, at a path that is short enough for a socket."""
    with TemporaryDirectory(dir=memory_folder()) as name:
        yield Path(name)


@pytest.fixture
async def worker(server: RedisServer, folder: Path) -> AsyncIterator[Worker]:
    """One more worker, in this process."""
    async with AsyncExitStack() as stack:

        async def make() -> CachedStore:
            store = opened(server.url, folder)
            stack.push_async_callback(store.aclose)
            await store.start()
            return store

        yield make


def place(number: int) -> str:
    return f"http://127.0.0.1:{number + 1}"


async def write(server: RedisServer, number: int) -> None:
    async with server.client as client, client.pipeline() as pipe:
        pipe.delete(f"frontend:{HOST}").rpush(f"frontend:{HOST}", "id", place(number))
        await pipe.execute()


async def tracking(client: "redis.asyncio.Redis") -> list[str]:
    """The connections to which it tells changes."""
    return [c["id"] for c in await client.client_list() if "t" in c["flags"]]


async def connections(server: RedisServer, count: int, *, seconds: float = PATIENCE) -> None:
    """Until it has so many of them."""
    async with asyncio.timeout(seconds), server.client as client:
        while len(await tracking(client)) != count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def all_say(stores: list[CachedStore], number: int, *, seconds: float = PATIENCE) -> None:
    """Until a request would go there, in each of them."""
    async with asyncio.timeout(seconds):
        for store in stores:
            while await url_of(store, HOST) != place(number):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def test_one_connection_tells_all_of_a_change_and_of_a_flush(server, worker):
    stores = [await worker() for _ in range(4)]
    await connections(server, 1)
    for number in range(1, 20):
        await write(server, number)
        await all_say(stores, number)
    assert all(store.numbers.pushes >= 19 for store in stores)
    async with server.client as client:
        await client.flushall()
    async with asyncio.timeout(PATIENCE):
        for store in stores:
            while await url_of(store, HOST):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def test_a_worker_that_comes_later_is_told_too(server, worker):
    first, late = await worker(), await worker()
    assert await url_of(late, HOST) == place(0)
    await write(server, 1)
    await all_say([first, late], 1)
    assert late.known(HOST) is not None
    await connections(server, 1)


async def test_who_waits_for_all_waits_for_those_that_follow(server, worker):
    stores = [await worker() for _ in range(3)]
    for store in stores:
        await url_of(store, HOST)
    await write(server, 1)
    async with redis.asyncio.Redis(port=server.port) as client:
        assert await wait_for_all(client, "", PATIENCE) == (3, [])
    assert [await url_of(store, HOST) for store in stores] == [place(1)] * 3


async def test_another_one_listens_when_the_first_ends(server, folder):
    stores = [opened(server.url, folder) for _ in range(3)]
    for store in stores:
        await store.start()
    numbers = iter(range(1, 100))
    while len(stores) > 1:
        leaving = asyncio.create_task(stores.pop(0).aclose())
        while not leaving.done():
            await write(server, number := next(numbers))
        await all_say(stores, number)
        await connections(server, 1)
    await write(server, 99)
    await all_say(stores, 99)
    await stores[0].aclose()


async def test_the_listening_worker_stands_still_and_later_is_killed(server, worker, folder):
    async with sibling(server.url, folder) as listening:
        stores = [await worker() for _ in range(3)]
        assert await listening.url_of(HOST) == place(0)
        await all_say(stores, 0)
        listening.signal(signal.SIGSTOP)
        await write(server, 1)
        await all_say(stores, 1)
        await connections(server, 4)  # each for itself
        await write(server, 2)
        await all_say(stores, 2)
        listening.signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            while await listening.url_of(HOST) != place(2):
                pass
        await connections(server, 1)
        for number in range(3, 100):
            if number == 50:
                listening.signal(signal.SIGKILL)
            await write(server, number)
            for store in stores:
                await url_of(store, HOST)
        await all_say(stores, 99)
        await connections(server, 1)


async def test_who_does_not_read_is_cut_off_and_holds_up_nobody(
    server, worker, folder, monkeypatch
):
    monkeypatch.setattr(news_teller, "MOST_UNREAD", 10_000)
    stores = [await worker() for _ in range(2)]
    (address,) = folder.glob("listening-*.sock")
    reader, writer = await asyncio.open_unix_connection(str(address), limit=1000)
    assert await reader.read(4)
    async with server.client as client:
        for number in range(400):  # more than the kernel keeps for it
            await client.set(f"frontend:{number}{'x' * 1000}", "")
        await until(lambda: all(store.numbers.pushes >= 400 for store in stores))
    async with asyncio.timeout(PATIENCE):
        while await reader.read(100_000):
            pass
    writer.close()
    await write(server, 1)
    await all_say(stores, 1)


@pytest.mark.long
async def test_a_worker_that_does_not_read_is_cut_off_and_forgets(
    server, worker, folder, monkeypatch
):
    monkeypatch.setattr(news_teller, "MOST_UNREAD", 10_000)
    listening = await worker()
    async with sibling(server.url, folder) as slow, server.client as client:
        assert await slow.url_of(HOST) == place(0)
        slow.signal(signal.SIGSTOP)
        await write(server, 1)
        told = listening.numbers.pushes
        for _ in range(400):  # more than the kernel keeps for it
            await client.set(f"frontend:{'x' * 1000}", "")
        await until(lambda: listening.numbers.pushes >= told + 400)
        await write(server, 2)
        slow.signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            while await slow.url_of(HOST) != place(2):
                pass
    await all_say([listening], 2)


async def test_the_connection_is_lost_and_so_all_are_told(server, worker):
    stores = [await worker() for _ in range(3)]
    async with server.client as client:
        for number in range(1, 6):
            for connection in await tracking(client):
                await client.client_kill_filter(_id=connection)
            await write(server, number)
            await all_say(stores, number)


async def test_who_is_refused_lets_others_try(server, folder, monkeypatch):
    monkeypatch.setattr(shared_tracker, "HAND_OVER_AFTER", 0.1)
    monkeypatch.setattr(shared_tracker, "BEAT_EVERY", 0.05)
    async with before(server, b"HELLO", CLOSES) as full, AsyncExitStack() as stack:

        async def worker() -> CachedStore:
            store = opened(f"redis://127.0.0.1:{full.port}", folder)
            stack.push_async_callback(store.aclose)
            await store.start()
            return store

        first = await worker()
        await until(lambda: first._reads.polled, seconds=PATIENCE)
        full.honest = True  # it has room again, and nobody says so
        stores = [first, await worker()]
        await until(lambda: all(store._reads.tracked for store in stores), seconds=PATIENCE)
        await write(server, 1)
        await all_say(stores, 1)


async def test_redis_is_killed_and_comes_back(server, worker):
    stores = [await worker() for _ in range(3)]
    await all_say(stores, 0)
    server.kill()
    await until(lambda: all(store.away for store in stores), seconds=PATIENCE)
    assert [await url_of(store, HOST) for store in stores] == [place(0)] * 3
    await server.start()
    await write(server, 1)
    await all_say(stores, 1)


async def test_a_worker_for_itself_joins_again_and_misses_nothing(server, worker, folder):
    """Nobody can be reached: the seat is taken, and no socket is there."""
    first = opened(server.url, folder)
    await first.start()
    (name,) = (path for path in folder.glob("listening-*") if path.suffix != ".sock")
    await first.aclose()
    seat = ListeningSeat(name)
    assert seat.take()
    stores = [await worker() for _ in range(2)]
    await all_say(stores, 0)
    await connections(server, 2)
    seat.close()
    numbers = iter(range(1, 1000))
    async with asyncio.timeout(PATIENCE), server.client as client:
        while len(await tracking(client)) > 1:
            await write(server, number := next(numbers))
            await all_say(stores, number, seconds=PATIENCE)
    await write(server, 1000)
    await all_say(stores, 1000)


async def test_a_listening_worker_without_redis_lets_another_try(server, worker, monkeypatch):
    monkeypatch.setattr(shared_tracker, "HAND_OVER_AFTER", 0.0)
    monkeypatch.setattr(shared_tracker, "BEAT_EVERY", 0.01)
    stores = [await worker() for _ in range(3)]
    await all_say(stores, 0)
    server.kill()
    await until(lambda: all(store.away for store in stores), seconds=PATIENCE)
    await server.start()
    await write(server, 1)
    await all_say(stores, 1)
    await connections(server, 1)
    await write(server, 2)
    await all_say(stores, 2)


async def test_changes_that_are_never_told_are_looked_for_by_all(server, worker):
    async with server.client as client:
        await client.execute_command(
            "ACL", "SETUSER", "default", "-client|tracking", "-client|tracking"
        )
    stores = [await worker() for _ in range(2)]
    await all_say(stores, 0)
    await write(server, 1)
    await all_say(stores, 1)  # after `server.lruCache.ttl`
    assert all(store.numbers.pushes == 0 for store in stores)


async def test_without_locks_each_listens_for_itself(server, worker, monkeypatch):
    monkeypatch.setattr(kernel_locks, "_SET", None)
    stores = [await worker() for _ in range(2)]
    await connections(server, 2)
    await write(server, 1)
    await all_say(stores, 1)
    async with redis.asyncio.Redis(port=server.port) as client:
        assert await wait_for_all(client, "", PATIENCE) == (2, [])
