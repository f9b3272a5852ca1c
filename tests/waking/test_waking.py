"""Frontends that are woken: two proxies on one Valkey, and a real service that starts backends.

All tests share the proxies, so each has a host of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from app.config.admin import AdminConfig
from app.config.structs import Config
from app.main import create_app
from app.testing.dict_routes import DictRoutes
from app.waking import wakes, waking
from tests.backends import Conversation, ScriptedBackend, answer, answering, scripted
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying, serving
from tests.websocket.peers import echo_backend

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = b"%b / HTTP/1.1\r\nHost: %b\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n"


class Fleet(NamedTuple):
    """Two proxies; the second one has no way below ASGI."""

    first: Proxy
    second: Proxy

    async def sleeping(self, host: str, service: ScriptedBackend, **options: str) -> None:
        """Write a frontend without backends that `service` wakes."""
        await self.first.route(host)
        async with self.first.valkey.client as redis:
            wake = {"wake": f"http://127.0.0.1:{service.port}/start?token=1"}
            await redis.hset(f"options:{host}", mapping={**wake, **options})

    async def add(self, host: str, *ports: int) -> None:
        """Add backends to its list."""
        async with self.first.valkey.client as redis:
            await redis.rpush(f"frontend:{host}", *(f"http://127.0.0.1:{port}" for port in ports))

    async def options(self, host: str, **options: str) -> None:
        """Change its options."""
        async with self.first.valkey.client as redis:
            await redis.hset(f"options:{host}", mapping=options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(shared_valkey: RedisServer) -> AsyncIterator[Fleet]:
    async with proxying(shared_valkey) as first, proxying(shared_valkey, asgi=True) as second:
        yield Fleet(first, second)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nobody is called again because a step took seconds."""
    monkeypatch.setattr(waking, "FIRST_PAUSE", 60.0)
    monkeypatch.setattr(waking, "LEASE_SLACK", 120.0)


def waker(
    start: Callable[[], Awaitable[object]], said: bytes = b"204 No Content"
) -> Callable[[Conversation], Awaitable[None]]:
    """A service that runs `start` when it is called, and then answers."""

    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            await start()
            await conversation.send(answer(status=said))

    return script


async def never() -> None:
    """Starts nothing."""


async def test_requests_of_the_whole_fleet_wait_for_one_call(fleet: Fleet) -> None:
    async def start() -> None:
        await fleet.add("all.test", backend.port)

    async with answering(answer(b"awake")) as backend, scripted(waker(start)) as service:
        await fleet.sleeping("all.test", service)
        post = b"POST / HTTP/1.1\r\nHost: all.test\r\nContent-Length: 2\r\n\r\nhi"
        replies = await asyncio.gather(
            *(proxy.get(host=b"all.test") for proxy in fleet for _ in range(5)),
            *(proxy.talk(post) for proxy in fleet),
        )
        assert all(reply.endswith(b"awake") for reply in replies)
        assert [each.body for each in backend.requests if each.line[0] == b"POST"] == [b"hi"] * 2
        (call,) = service.requests
        assert call.line == (b"POST", b"/start?token=1")
        assert json.loads(call.body) == {
            "frontend": "all.test", "identifier": "the-site", "backends": [],
        }  # fmt: skip


async def test_a_backend_that_starts_where_it_was_is_noticed(fleet: Fleet) -> None:
    port, started = free_port(), asyncio.Event()

    async def start() -> None:
        started.set()

    async with scripted(waker(start)) as service:
        await fleet.sleeping("there.test", service)
        await fleet.add("there.test", port)
        waiting = [asyncio.create_task(each.get(host=b"there.test")) for each in fleet]
        await started.wait()
        async with answering(answer(b"back"), port=port):
            for reply in await asyncio.gather(*waiting):
                assert reply.endswith(b"back")
        assert len(service.requests) == 1


async def test_dead_backends_are_not_tried_in_a_panic(fleet: Fleet) -> None:
    async def start() -> None:
        await fleet.add("dead.test", backend.port)

    async with answering(answer(b"new")) as backend, scripted(waker(start)) as service:
        await fleet.sleeping("dead.test", service)
        await fleet.add("dead.test", free_port(), free_port())
        assert (await fleet.first.get(host=b"dead.test")).endswith(b"new")
        assert len(service.requests) == 1


async def test_a_browser_sees_a_page_that_goes_on_and_others_wait(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakes, "PAGE_AFTER", 0.01)
    async with scripted(waker(never)) as service:
        await fleet.sleeping("page.test", service)
        page = await fleet.first.talk(BROWSER % (b"GET", b"page.test"))
        assert page.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 2" in page.lower()
        assert b'<meta http-equiv="refresh" content="2">' in page
        assert b'<li class="wait">' in page
        assert b'<li class="bad">' not in page
        await fleet.sleeping("slow.test", service, wakeTimeout="0.2")
        for method in (b"POST", b"GET"):
            request = BROWSER % (method, b"slow.test")
            while b"http-equiv" in (reply := await fleet.first.talk(request)):
                assert method == b"GET"  # until it has taken too long: no more promises then
            assert b"did not start" in reply
            assert b"http-equiv" not in reply
            assert b"retry-after: 10" in reply.lower()


async def test_a_call_that_fails_is_repeated_with_back_off(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waking, "FIRST_PAUSE", 0.01)

    async def start() -> None:
        if len(service.requests) == 3:
            await fleet.add("broken.test", backend.port)

    async with (
        answering(answer(b"awake")) as backend,
        scripted(waker(start, b"500 Broken")) as service,
    ):
        await fleet.sleeping("broken.test", service)
        assert (await fleet.first.get(host=b"broken.test")).endswith(b"awake")
        assert len(service.requests) >= 3
        url = f"http://127.0.0.1:{service.port}/start"
        told = [record.getMessage() for record in caplog.records]
        assert f"wake failed frontend=broken.test url={url} cause=status 500" in told


async def test_clients_that_leave_give_their_places_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakes, "MAX_WAITING_EACH", 2)
    async with scripted(waker(never)) as service:
        await fleet.sleeping("left.test", service, wakeTimeout="600")
        clients = [await fleet.first.connect() for _ in range(3)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: left.test\r\n\r\n")
        waiting = {asyncio.create_task(client.response()) for client in clients}
        refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [each.result()[0] for each in refused] == [503]
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        for client in clients:
            client.reset()
        monkeypatch.setattr(wakes, "MAX_WAITING", 2)
        await fleet.sleeping("next.test", service, wakeTimeout="0")
        while b"overloaded" in (reply := await fleet.first.get(host=b"next.test")):
            pass  # until the proxy has seen the resets
        assert b"did not start" in reply


async def test_nobody_goes_on_where_the_rules_changed_meanwhile(fleet: Fleet) -> None:
    async def start() -> None:
        await fleet.options("rules.test", allow="192.0.2.1")
        await fleet.add("rules.test", backend.port)

    async with answering(answer(b"secret")) as backend, scripted(waker(start)) as service:
        await fleet.sleeping("rules.test", service)
        reply = await fleet.first.get(host=b"rules.test")
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert backend.requests == []


async def test_a_web_socket_waits_too(fleet: Fleet) -> None:
    async def start() -> None:
        await fleet.add("socket.test", backend.port)

    async with echo_backend() as backend, scripted(waker(start)) as service:
        await fleet.sleeping("socket.test", service)
        opening = connect(f"ws://socket.test:{fleet.first.port}", host="127.0.0.1", proxy=None)
        async with asyncio.timeout(20), opening as client:
            await client.send("hello")
            assert await client.recv() == "hello"


async def test_without_the_option_a_request_fails_at_once(fleet: Fleet) -> None:
    await fleet.first.route("none.test")
    assert b"Cannot find a valid backend" in await fleet.first.get(host=b"none.test")
    await fleet.first.route("gone.test", f"http://127.0.0.1:{free_port()}")
    assert b" 502 " in await fleet.first.get(host=b"gone.test")


async def test_a_store_that_tells_no_change_is_looked_at() -> None:
    """Without leases each worker calls for itself."""
    routes = DictRoutes()

    async def start() -> None:
        routes.set("own.test", f"http://127.0.0.1:{backend.port}")

    async with answering(answer(b"awake")) as backend, scripted(waker(start)) as service:
        routes.set("own.test", options={"wake": f"http://127.0.0.1:{service.port}/start"})
        config = Config(admin=AdminConfig(bind=None))
        async with serving(create_app(config, store=routes)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"awake")
            writer.close()
        assert len(service.requests) == 1
