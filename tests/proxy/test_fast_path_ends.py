"""A request below ASGI that ends early: its client leaves, or its worker drains or stops."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.backends import Conversation, answer
from tests.proxy.ways import GET, OK, Way, closed, has_task, kept, rest_of, sending, two_ways
from tests.redis_servers import RedisServer
from tests.serving import proxying


async def test_a_client_that_leaves_leaves_nothing_behind(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async def rest(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.gone()

    async with two_ways(valkey, tmp_path) as ways:
        for way in ways:
            async with kept(way, rest) as (client, backend, host):
                client.send(GET % host)
                await backend.until(lambda backend: len(backend.requests) == 2)
                client.reset()
                await backend.until(lambda backend: backend.open == 0)
                await way.settled()
                assert way.left_behind(host) == []
                assert b" 200 " in await way.proxy.get(host=host)  # its place is free again
    below, through = [way.lines() for way in ways]
    assert [line["status"] for line in below] == [200, 499, 200]
    for line in below + through:
        line["backend"] = ""
    assert below == through


async def test_a_client_may_leave_in_the_moment_of_the_hand_over(
    valkey: RedisServer, tmp_path: Path
) -> None:
    left = asyncio.Event()

    async def rest(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(OK + b"Content-Length: 2\r\n\r\n")
        await left.wait()
        await conversation.gone()

    async with two_ways(valkey, tmp_path) as ways:
        for way in ways:
            async with kept(way, rest) as (client, backend, host):
                client.send(GET % host)
                await client.until(b"\r\n\r\n")
                client.reset()
                left.set()
                await backend.until(lambda backend: backend.open == 0)
                await way.settled()
                assert way.left_behind(host) == []
    below, through = [[line["error"] for line in way.lines()] for way in ways]
    assert below == through == [None, "client left"]


@pytest.mark.usefixtures("either_way")
async def test_what_is_under_way_when_the_worker_drains_is_answered(valkey: RedisServer) -> None:
    async def rest(conversation: Conversation) -> None:
        await conversation.receive()
        await closed(proxy.port)
        assert has_task()
        await conversation.send(answer(b"late"))

    async with AsyncExitStack() as clients:
        async with proxying(valkey) as proxy:
            way = Way(proxy, Path(), "way")
            client, backend, host = await clients.enter_async_context(kept(way, rest))
            client.send(GET % host)
            await backend.until(lambda backend: len(backend.requests) == 2)
            proxy.clients.clear()  # they stay
            reply = asyncio.create_task(rest_of(client))
        assert (await reply).endswith(b"connection: close\r\n\r\nlate")


@pytest.mark.usefixtures("either_way")
async def test_what_a_stop_cuts_short_is_told(valkey: RedisServer, tmp_path: Path) -> None:
    log = {"accessLog": str(tmp_path / "log"), "accessLogFormat": "{status} {error}"}
    async with AsyncExitStack() as clients:
        async with proxying(valkey, options={"timeout_graceful_shutdown": 0}, **log) as proxy:
            way = Way(proxy, Path(), "way")
            client, backend, host = await clients.enter_async_context(kept(way, sending()))
            client.send(GET % host)
            await backend.until(lambda backend: len(backend.requests) == 2)
            proxy.clients.clear()
        await client.rest()
        await client.close()
    assert (tmp_path / "log").read_text() == "200 -\n503 the proxy stopped\n"
