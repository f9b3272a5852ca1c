"""Whom a silent resolver hurts, and how an address that moves is followed: the whole proxy."""

from __future__ import annotations

import asyncio
import socket

import pytest

from app.config.structs import Config, ServerConfig
from app.system import resolver as system_resolver
from app.system.name_lookups import MAX_PER_ZONE
from app.upstream.client import UpstreamClient
from tests import resolver
from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import proxying
from tests.upstream.asking import asked

HELLO = answer(b"hello")


async def test_a_silent_resolver_hurts_its_own_names_only(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with resolver.silent(monkeypatch, "bad") as names:
        async with proxying(valkey, httpKeepAlive=False) as proxy, answering(HELLO) as backend:
            await proxy.route("bad.test", *(f"http://x{n}.bad.test" for n in range(8)))
            await proxy.route("address.test", backend)
            await proxy.route("name.test", f"http://www.good.test:{backend.port}")
            bad = [asyncio.create_task(proxy.get(host=b"bad.test")) for _ in range(100)]
            await _wait_for(names)
            for _ in range(50):
                for host in (b"address.test", b"name.test"):
                    assert (await proxy.get(host=host)).endswith(b"hello")
            assert not any(task.done() for task in bad)
            for task in bad:
                task.cancel()
            await asyncio.wait(bad)
    assert backend.accepted == 100
    assert len([name for name in names if "bad" in name]) == MAX_PER_ZONE


async def _wait_for(names: list[str]) -> None:
    async with asyncio.timeout(10):
        while len(names) < 4:  # noqa: ASYNC110 - threads tell nobody
            await asyncio.sleep(0.001)


async def test_a_request_looks_a_silent_name_up_once(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with resolver.silent(monkeypatch) as names:
        async with proxying(valkey, connectTimeout=0.1) as proxy:
            await proxy.route("bad.test", "http://one.bad.test", "http://two.bad.test")
            assert (await proxy.get(host=b"bad.test")).startswith(b"HTTP/1.1 503 ")
    assert sorted(names) == ["one.bad.test", "two.bad.test"]


async def test_the_last_known_addresses_serve_while_the_resolver_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(host: str) -> list[str]:
        if len(names) == 1:
            return ["127.0.0.1"]
        raise socket.gaierror(socket.EAI_AGAIN, "not now")

    monkeypatch.setattr(system_resolver, "FRESH", 0.0)
    names = resolver.answering(monkeypatch, look_up)
    afresh = Config(server=ServerConfig(http_keep_alive=False))
    async with UpstreamClient(afresh) as client, answering(HELLO) as backend:
        url = f"http://a.test:{backend.port}"
        for _ in range(6):
            assert (await asked(client, url)).body == b"hello"
    assert len(names) > 1


async def test_an_address_that_moves_is_followed_while_its_connections_are_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two requests without a pause keep the old connections busy; a slow one ends undisturbed."""
    addresses = ["127.0.0.1"]
    resolver.answering(monkeypatch, lambda host: addresses)
    moved, done = asyncio.Event(), asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        while True:
            request = await conversation.receive()
            if request.line[1] == b"/slow":
                await moved.wait()
            await conversation.send(HELLO)

    async def ask_on() -> None:
        while not done.is_set():
            assert (await asked(client, url)).body == b"hello"

    async with (
        UpstreamClient(Config(server=ServerConfig(resolve_interval=1))) as client,
        scripted(slow) as old,
        answering(HELLO, host="127.0.0.2", port=old.port) as new,
        asyncio.TaskGroup() as tasks,
    ):
        url = f"http://a.test:{old.port}"
        whole = tasks.create_task(asked(client, url, target=b"/slow"))
        asking = [tasks.create_task(ask_on()) for _ in range(2)]
        await old.until(lambda b: len(b.requests) > 20)
        addresses[:] = ["127.0.0.2"]
        async with asyncio.timeout(5):
            await new.until(lambda b: len(b.requests) > 20)
            await old.until(lambda b: b.open == 1)
        done.set()
        await asyncio.wait(asking)
        assert old.accepted == 3
        moved.set()
        assert (await whole).body == b"hello"
        await old.until(lambda b: b.open == 0)
