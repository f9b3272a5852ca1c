"""A site that is paused: requests wait, whichever way they go, and WebSockets too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from app.errors import Overloaded, UnderMaintenance
from app.proxy.guards import pauses
from app.proxy.guards.pauses import Pauses
from tests.backends import answer, answering
from tests.commands.test_steering import done
from tests.processes import serve
from tests.redis_servers import RedisServer
from tests.serving import proxying
from tests.websocket.peers import echo_backend


@pytest.mark.usefixtures("either_way")
async def test_what_waited_goes_where_the_site_is_by_then(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "LOOK_EVERY", 3600)  # the store tells
    async with (
        answering(answer(b"old")) as old,
        answering(answer(b"new")) as new,
        proxying(valkey) as proxy,
        valkey.client as redis,
    ):
        await proxy.route("a.test", old)
        await proxy.route("b.test", old)
        await redis.hset("options:a.test", "pause", "1")
        await redis.hset("options:b.test", "pause", "60")
        waiting = {asyncio.create_task(proxy.get(host=b"b.test")) for _ in range(5)}
        head = await proxy.get()  # a second later; a client that says no more is probed with a 100
        head = head.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head.lower()
        assert not any(each.done() for each in waiting)
        async with redis.pipeline() as pipe:
            pipe.delete("frontend:b.test").rpush("frontend:b.test", "id", new.url)
            pipe.hdel("options:b.test", "pause")
            await pipe.execute()
        for reply in await asyncio.gather(*waiting):
            assert reply.endswith(b"new")
        assert old.requests == []


async def test_a_client_that_leaves_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "MAX_WAITING", 2)
    waits, paused = Pauses(asyncio.Event().wait), asyncio.Event()

    async def is_paused() -> bool:
        paused.set()
        return True

    tasks = [asyncio.create_task(waits.wait(is_paused, 60)) for _ in range(2)]
    await paused.wait()
    with pytest.raises(Overloaded):
        await waits.wait(is_paused, 60)
    left = tasks.pop()
    left.cancel()
    await asyncio.wait([left])
    paused.clear()
    tasks.append(asyncio.create_task(waits.wait(is_paused, 60)))
    await paused.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_store_that_tells_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "LOOK_EVERY", 0.01)
    looks = iter([True, True, False])

    async def is_paused() -> bool:
        return next(looks)

    await Pauses(asyncio.Event().wait).wait(is_paused, 60)
    assert list(looks) == []


async def test_a_busy_store_keeps_nobody_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "LOOKS_APART", 3600)
    looks = 0

    async def is_paused() -> bool:
        nonlocal looks
        looks += 1
        return True

    async def changed() -> None:
        return

    with pytest.raises(UnderMaintenance):
        await Pauses(changed).wait(is_paused, 0)
    assert looks == 1


async def test_a_web_socket_waits_for_the_command_to_resume(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with (
        echo_backend() as backend,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 1) as service,
    ):
        await redis.rpush("frontend:a.test", "id", f"http://127.0.0.1:{backend.port}")
        await done(tmp_path, "pause", "a.test", "--for", "2m", "--wait")
        assert await redis.hgetall("options:a.test") == {"pause": "120"}
        opening = asyncio.create_task(
            connect(f"ws://a.test:{service.port}", host="127.0.0.1", proxy=None).__aenter__()
        )
        await done(tmp_path, "resume", "a.test", "--wait")
        async with asyncio.timeout(20):
            client = await opening
            await client.send("hello")
            assert await client.recv() == "hello"
            await client.close()
        assert not await redis.exists("options:a.test")
