"""A request below ASGI that ends early: its client leaves, or its worker drains or stops."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.upstream.backend_connection import BackendConnection
from tests.backends import Conversation, answer
from tests.proxy.ways import GET, OK, Way, closed, has_task, kept, rest_of, sending, two_ways
from tests.redis_servers import RedisServer
from tests.serving import proxying

PUT = b"PUT / HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\nhi"

with_a_body_or_without = pytest.mark.parametrize("asked", [GET, PUT], ids=["GET", "PUT"])


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


@with_a_body_or_without
async def test_a_client_may_leave_in_the_moment_of_the_hand_over(
    valkey: RedisServer, tmp_path: Path, asked: bytes
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
                client.send(asked % host)
                await client.until(b"\r\n\r\n")
                client.reset()
                left.set()
                await backend.until(lambda backend: backend.open == 0)
                await way.settled()
                assert way.left_behind(host) == []
    below, through = [[line["error"] for line in way.lines()] for way in ways]
    assert below == through == [None, "client left"]


@with_a_body_or_without
@pytest.mark.usefixtures("either_way")
async def test_what_is_under_way_when_the_worker_drains_is_answered(
    valkey: RedisServer, asked: bytes
) -> None:
    async def rest(conversation: Conversation) -> None:
        await conversation.receive()
        await closed(proxy.port)
        assert has_task()
        await conversation.send(answer(b"late"))

    async with AsyncExitStack() as clients:
        async with proxying(valkey) as proxy:
            way = Way(proxy, Path(), "way")
            client, backend, host = await clients.enter_async_context(kept(way, rest))
            client.send(asked % host)
            await backend.until(lambda backend: len(backend.requests) == 2)
            proxy.clients.clear()  # they stay
            reply = asyncio.create_task(rest_of(client))
        assert (await reply).endswith(b"connection: close\r\n\r\nlate")


@with_a_body_or_without
@pytest.mark.usefixtures("either_way")
async def test_what_a_stop_cuts_short_is_told(
    valkey: RedisServer, tmp_path: Path, asked: bytes
) -> None:
    log = {"accessLog": str(tmp_path / "log"), "accessLogFormat": "{status} {error}"}
    async with AsyncExitStack() as clients:
        async with proxying(valkey, options={"timeout_graceful_shutdown": 0}, **log) as proxy:
            way = Way(proxy, Path(), "way")
            client, backend, host = await clients.enter_async_context(kept(way, sending()))
            client.send(asked % host)
            await backend.until(lambda backend: len(backend.requests) == 2)
            proxy.clients.clear()
        await client.rest()
        await client.close()
    assert (tmp_path / "log").read_text() == "200 -\n503 the proxy stopped\n"


@with_a_body_or_without
@pytest.mark.parametrize("first", [True, False], ids=["not sent yet", "sent"])
async def test_a_task_that_is_cancelled_before_its_first_step_leaves_nothing(
    valkey: RedisServer, tmp_path: Path, first: bool, asked: bytes
) -> None:
    def cancelled_at_once(loop: asyncio.AbstractEventLoop, coro: Any, **_: Any) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop)
        if coro.__qualname__ == "Exchange.run":
            task.cancel()
        return task

    log = {"accessLog": str(tmp_path / "log"), "accessLogFormat": "{status} {error}"}
    loop = asyncio.get_running_loop()
    async with proxying(valkey, **log) as proxy:
        way = Way(proxy, Path(), "way")
        async with kept(way, sending(OK, b"Content-Length: 2\r\n\r\n")) as (client, backend, host):
            if first:
                await proxy.route("new.test", backend)
                async with proxy.valkey.client as redis:
                    await redis.hset("options:new.test", "maxInFlight", "1")
                host = b"new.test"
            loop.set_task_factory(cancelled_at_once)
            try:
                client.send(asked % host)
                assert await client.rest() == b""
                await way.settled()
            finally:
                loop.set_task_factory(None)
            if not first:
                assert way.left_behind(host) == []
                await backend.until(lambda backend: backend.open == 0)
    assert (tmp_path / "log").read_text() == "200 -\n503 the proxy stopped\n"


@with_a_body_or_without
async def test_a_write_that_raises_leaves_no_second_answer(
    valkey: RedisServer, tmp_path: Path, asked: bytes
) -> None:
    class Broken:
        """A transport whose next write raises."""

        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        def write(self, data: bytes) -> None:
            raise RuntimeError("a defect")

    log = {"accessLog": str(tmp_path / "log"), "accessLogFormat": "{status} {error}"}
    async with proxying(valkey, **log) as proxy:
        way = Way(proxy, Path(), "way")
        async with kept(way, sending()) as (client, backend, host):
            [connection] = [
                each
                for each in gc.get_objects()
                if type(each) is BackendConnection and each.is_available and each.is_idle
            ]
            connection._transport = Broken(connection._transport)  # type: ignore[assignment]
            client.send(asked % host)
            assert (await client.response())[0] == 500
            await backend.until(lambda backend: backend.open == 0)
            await way.settled()
            assert way.left_behind(host) == []
    assert (tmp_path / "log").read_text() == "200 -\n500 RuntimeError: a defect\n"
