"""A backend that is replaced under load as an operator does it: no call fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc.aio
import pytest

from app.stores.drivers import driver_of
from app.stores.steered import drained
from app.stores.table import Entry
from app.stores.tables import seen_by_all
from tests.commands.test_steering import done
from tests.grpc.calls import calling, service
from tests.ports import free_port
from tests.processes import command, write_config
from tests.redis_servers import RedisServer, until
from tests.serving import Proxy, config_of, proxying

AT_ONCE = 20


class Callers:
    """Clients that call one after another, and a stream that stays open."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.done = 0
        self._over = False
        self._unary = channel.unary_unary("/t.Service/Unary")
        self._echoing = channel.stream_stream("/t.Service/Echoing")
        self._tasks = [asyncio.create_task(self._call()) for _ in range(AT_ONCE)]

    async def _call(self) -> None:
        while not self._over:
            message = b"%d" % self.done
            assert await self._unary(message) == message
            self.done += 1

    async def more(self) -> None:
        """Until each may have called some more times. Raises what a call did."""
        goal = self.done + 5 * AT_ONCE
        await until(lambda: self.done >= goal or any(task.done() for task in self._tasks))
        assert not any(task.done() for task in self._tasks), self._tasks

    async def stream(self) -> grpc.aio.StreamStreamCall:
        call = self._echoing()
        await said_back(call)
        return call

    async def end(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)


async def said_back(call: grpc.aio.StreamStreamCall) -> None:
    await call.write(b"hello")
    assert await call.read() == b"hello"


def in_flight(proxy: Proxy, url: str) -> int:
    """What the proxy counts there, which `hipache drain --wait` waits for, too."""
    assert proxy.app is not None
    gateway = proxy.app.router.default.http._gateway  # type: ignore[attr-defined]
    return dict(gateway.loads())[url]


async def changed(proxy: Proxy, step: Callable[[Entry], Entry]) -> None:
    """Change the route as the commands do: the worker has it by then."""
    table = driver_of(config_of(proxy.valkey)).table()
    change = partial(table.change, ["a.test"], lambda before: {"a.test": step(before["a.test"])})
    try:
        await seen_by_all(table, change, 30)
    finally:
        await table.aclose()


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
async def test_no_call_fails_while_backends_are_replaced(valkey: RedisServer, rounds: int) -> None:
    async with (
        proxying(valkey, http2=True, retryOnError=0) as proxy,
        calling(proxy.port) as channel,
        AsyncExitStack() as last,
    ):
        old = await last.enter_async_context(AsyncExitStack())
        _, url = await old.enter_async_context(service())
        await proxy.route("a.test", url)
        callers = Callers(channel)
        for _ in range(rounds):
            await callers.more()
            stream = await callers.stream()
            new = await last.enter_async_context(AsyncExitStack())
            _, next_url = await new.enter_async_context(service())
            both = (url, next_url)
            await changed(proxy, lambda entry, both=both: replace(entry, backends=both))
            await changed(proxy, lambda entry, url=url: drained(entry, url))
            await callers.more()
            await said_back(stream)
            assert in_flight(proxy, url) >= 1
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK
            await until(lambda url=url: not in_flight(proxy, url))
            await old.aclose()
            alone = Entry("the-site", (next_url,))
            await changed(proxy, lambda entry, alone=alone: alone)
            old, url = new, next_url
            await callers.more()
        await callers.end()


OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
CHANNELS = 4


@pytest.mark.long
async def test_no_call_fails_while_the_commands_replace_backends(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """`hipache drain --wait` knows of the streams of all workers."""
    admin = {"bind": f"127.0.0.1:{free_port()}"}
    path = write_config(tmp_path, valkey.url, 2, admin=admin, retryOnError=0)
    config = json.loads(path.read_text())
    config["http"]["http2"] = True
    path.write_text(json.dumps(config))
    async with command("app.cli", "serve", cwd=tmp_path) as proxy, AsyncExitStack() as last:
        await proxy.ready(2)
        old = await last.enter_async_context(AsyncExitStack())
        _, url = await old.enter_async_context(service())
        await done(tmp_path, "route", "set", "a.test", url, "--wait")
        channels = [
            await last.enter_async_context(calling(proxy.port, more=OWN_CONNECTION))
            for _ in range(CHANNELS)
        ]
        callers = [Callers(channel) for channel in channels]
        for _ in range(3):
            streams = [await each.stream() for each in callers]
            new = await last.enter_async_context(AsyncExitStack())
            _, next_url = await new.enter_async_context(service())
            await done(tmp_path, "route", "add", "a.test", next_url, "--wait")
            draining = asyncio.create_task(done(tmp_path, "drain", "a.test", url, "--wait"))
            for each in callers:
                await each.more()
            for stream in streams:
                await said_back(stream)
                assert not draining.done()
                await stream.done_writing()
                assert await stream.code() is grpc.StatusCode.OK
            assert (await draining)[-1] == f"a.test  {url}  drained, nothing in flight"
            await old.aclose()
            await done(tmp_path, "route", "remove", "a.test", url, "--wait")
            old, url = new, next_url
        for each in callers:
            await each.end()
