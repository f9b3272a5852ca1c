"""The way below ASGI: backend, client and log see of it what they see of the way through ASGI."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.proxy.gateway import Gateway
from app.routing import Frontend, Route
from app.stores.base import Marks
from tests.backends import Conversation, ScriptedBackend, answer, scripted
from tests.redis_servers import RedisServer
from tests.server.serving import Client
from tests.serving import PassingOn, Proxy, config_of, proxying, serving
from tests.websocket.serving import FixedRoutes

Rest = Callable[[Conversation], Awaitable[None]]

HEAD = b"%b / HTTP/1.1\r\nHost: %b\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
NEVER_THE_SAME = ("time", "request_id", "total_time")
MEASURED = ("head_time", "connect_time")


@dataclass
class Way:
    """A proxy, and what was seen at it."""

    proxy: Proxy
    log: Path
    name: str
    hosts: count[int] = field(default_factory=count)
    tasks: list[bool] = field(default_factory=list)
    """For each request that came to a backend by a kept connection, whether it had a task."""

    @property
    def gateway(self) -> Gateway:
        assert self.proxy.app is not None
        return self.proxy.app.router.default.http._gateway  # type: ignore[attr-defined,no-any-return]

    async def settled(self) -> None:
        """Wait until no request is under way."""
        async with asyncio.timeout(20):
            while self.gateway.in_flight:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)

    def left_behind(self, host: bytes) -> list[int]:
        """Attempts at its backends that nobody has counted out."""
        balancer = self.gateway.attempts._balancer
        route = self.gateway._routes.known(host.decode())
        assert route is not None
        return [n for b in route.frontend.backends if (n := balancer.in_flight(route, b))]

    def lines(self) -> list[dict[str, Any]]:
        """The access log without what differs from run to run."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        for line in lines:
            for name in NEVER_THE_SAME:
                del line[name]
            for name in MEASURED:
                line[name] = line[name] is not None
            for name in ("host", "frontend"):
                line[name] = line[name].replace(self.name, "case")
        return lines


@asynccontextmanager
async def two_ways(valkey: RedisServer, folder: Path, **server: Any) -> AsyncIterator[list[Way]]:
    """The same proxy twice: below ASGI, and through it."""
    async with AsyncExitStack() as stack:
        ways = []
        for asgi in (False, True):
            name = "way-two" if asgi else "way-one"
            log = folder / f"{name}.log"
            settings = {"accessLog": str(log), "accessLogFormat": "json", **server}
            proxy = await stack.enter_async_context(proxying(valkey, asgi=asgi, **settings))
            ways.append(Way(proxy, log, name))
        yield ways


@asynccontextmanager
async def kept(way: Way, rest: Rest) -> AsyncIterator[tuple[Client, ScriptedBackend, bytes]]:
    """A client, a backend and a host: the route is known and a connection kept.

    `rest` is what the backend does with the next request.
    """
    host = f"{way.name}{next(way.hosts)}.test".encode()

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"first"))
        await rest(conversation)

    async with scripted(script) as backend:
        async with way.proxy.valkey.client as redis:
            await redis.hset(f"options:{host.decode()}", "maxInFlight", "1")
        await way.proxy.route(host.decode(), backend)
        client = await way.proxy.connect()
        client.send(HEAD % (b"GET", host))
        assert (await client.response())[2] == b"first"
        await way.settled()
        yield client, backend, host


async def rest_of(client: Client) -> bytes:
    """All that comes; closes, too."""
    data = await client.rest()
    await client.close()
    return data


async def closed(port: int) -> None:
    """Wait until nobody listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # closed before it was accepted
        writer.close()


def has_task() -> bool:
    """Whether an exchange with a client runs in a task."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return "Exchange.run" in names


def sending(*pieces: bytes, close: bool = False) -> Rest:
    """Answer the request in `pieces`, each in a segment of its own; with `close`, close then."""

    async def rest(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send_apart(pieces)
        if not close:
            await conversation.gone()

    return rest


async def seen(way: Way, rest: Rest, request: bytes) -> dict[str, object]:
    """What client and backend saw of `request`, by a kept connection, and what was left behind."""

    async def noting(conversation: Conversation) -> None:
        asked = asyncio.create_task(rest(conversation))
        await conversation.backend.until(lambda backend: len(backend.requests) >= 2)
        if conversation.number == 0:
            way.tasks.append(has_task())
        await asked

    async with kept(way, noting) as (client, backend, host):
        client.send(request % host)
        reply = asyncio.create_task(client.rest())
        await backend.until(lambda backend: len(backend.requests) >= 2)
        await way.settled()
        client.end()
        (received,) = await asyncio.gather(reply, return_exceptions=True)
        left = way.left_behind(host)
        ports = {str(backend.port): "BACKEND", str(way.proxy.port): "PROXY", way.name: "case"}
        got = [r.head for r in backend.requests[1:]]
    said = repr(
        [
            received,
            [[line for line in h.split(b"\r\n") if b"x-request-id" not in line] for h in got],
        ]
    )
    for port, name in ports.items():
        said = said.replace(port, name)
    return {"said": re.sub(r"[0-9a-f]{26}", "ID", said), "left": left}


GET = b"GET /a?b HTTP/1.1\r\nHost: %b\r\nUser-Agent: me\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
BIG = b"x" * 2**20

ANSWERS: dict[str, tuple[Rest, bytes]] = {
    "whole": (sending(answer(b"x", b"Set-Cookie: a", b"Set-Cookie: b", b"Keep-Alive: 1")), GET),
    "empty": (sending(answer()), GET),
    "204": (sending(b"HTTP/1.1 204 No Content\r\n\r\n"), GET),
    "304": (sending(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), GET),
    "to HEAD": (sending(OK + b"Content-Length: 5\r\n\r\n"), GET.replace(b"GET", b"HEAD")),
    "own words": (sending(answer(b"x", status=b"299 Quite Fine")), GET),
    "chunked": (sending(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), GET),
    "trailers": (
        sending(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n"), GET,
    ),
    "head first": (sending(OK + b"Content-Length: 2\r\n\r\n", b"xy"), GET),
    "cut within the head": (sending(OK, b"Content-Length: 1\r\n\r\nx"), GET),
    "chunk by chunk": (
        sending(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"0\r\n\r\n"), GET,
    ),
    "after 103": (sending(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + answer(b"x")), GET),
    "up to the close": (sending(OK + b"\r\nuntil", b" the end", close=True), GET),
    "large": (sending(answer(BIG)), GET),
    "close": (sending(answer(b"x", b"Connection: close"), close=True), GET),
    "500": (sending(answer(b"x", status=b"500 Oops")), GET),
    "maintenance": (sending(answer(b"x", b"Retry-After: 9", status=b"503 Later")), GET),
    "short": (sending(answer(b"xxx")[:-1], close=True), GET),
    "cut chunks": (
        sending(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nx", close=True), GET,
    ),
    "half a head": (sending(OK[:-3], close=True), GET),
    "nonsense": (sending(b"what is this all?\r\n\r\n"), GET),
    "two lengths": (sending(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), GET),
    "too much": (sending(answer(b"x") + b"y"), GET),
    "a line break in a value": (sending(answer(b"x", b"X: a\rb")), GET),
    "a control character in a value": (sending(answer(b"x", b"X: a\x7fb")), GET),
    "101": (sending(b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), GET),
    "none to GET": (sending(close=True), GET),
    "none to POST": (
        sending(close=True), b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 0\r\n\r\n",
    ),
    "none to what nobody knows": (sending(close=True), GET.replace(b"GET", b"FOO")),
    "a body that comes with its head": (
        sending(answer(b"x")), b"PUT / HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\nhi",
    ),
    "to the last request": (
        sending(answer(b"x")), GET.replace(b"X-A: 1", b"Connection: close, x-a"),
    ),
    "to HTTP/1.0": (sending(answer(b"x")), b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n"),
    "chunks to HTTP/1.0": (
        sending(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n",
    ),
}  # fmt: skip


async def test_every_answer_is_the_same_by_both_ways(valkey: RedisServer, tmp_path: Path) -> None:
    async with two_ways(valkey, tmp_path) as ways:
        below, through = [
            {name: await seen(way, rest, request) for name, (rest, request) in ANSWERS.items()}
            for way in ways
        ]
        for name in ANSWERS:
            assert below[name] == through[name], name
            assert below[name]["left"] == [], name
        bodies = sum(b"PUT" in request for _, request in ANSWERS.values())
        assert sum(ways[0].tasks) == bodies
        assert all(ways[1].tasks)
    # Ports differ, and so does what a test's client makes of its end.
    logs = [way.lines() for way in ways]
    for lines in logs:
        for line in lines:
            line["backend"] = line["backend"] is not None
            line["retried_from"] = len(line["retried_from"])
    assert logs[0] == logs[1]
    retries = sum(line["attempts"] - 1 for line in logs[0])
    assert len(logs[0]) == 2 * len(ANSWERS)
    assert retries == 1  # "none to GET"; after half a head, or a POST, there must be none


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


async def test_a_silent_backend_gets_504(valkey: RedisServer, tmp_path: Path) -> None:
    async with two_ways(valkey, tmp_path, responseTimeout=0.05, retryOnError=0) as ways:
        for way in ways:
            async with kept(way, sending()) as (client, _, host):
                client.send(GET % host)
                assert (await client.response())[0] == 504
                await way.settled()
                assert way.left_behind(host) == []


async def test_requests_sent_ahead_are_answered_in_turn_and_counted_one_by_one(
    valkey: RedisServer, tmp_path: Path
) -> None:
    """With `maxInFlight` 1 the second one is refused unless the first is over by then."""

    async def rest(conversation: Conversation) -> None:
        for text in (b"one", b"two", b"three"):
            await conversation.receive()
            await conversation.send(answer(text))

    async with two_ways(valkey, tmp_path) as ways:
        for way in ways:
            async with kept(way, rest) as (client, _, host):
                client.send(GET % host * 3)
                got = [(await client.response())[2] for _ in range(3)]
                assert got == [b"one", b"two", b"three"]


QUEUE = {"maxSockets": 1, "accessLogFormat": "{status} {attempts} {error}"}


class Busy:
    """A route whose backend takes one connection and holds the first request back."""

    def __init__(self, way: Way, backend: ScriptedBackend, go_on: asyncio.Event) -> None:
        self.way = way
        self.backend = backend
        self.go_on = go_on
        self.host = f"{way.name}.test".encode()

    async def ask(self, *requests: bytes) -> list[Client]:
        """A client for each of `requests`, sent in this order."""
        clients = []
        for request in requests:
            clients.append(await self.way.proxy.connect())
            clients[-1].send(request % self.host)
        return clients

    async def queued(self, count: int) -> None:
        """Wait until so many wait for the connection, and nobody has a task for it but ASGI."""
        async with asyncio.timeout(10):
            while self.waiting() != count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        assert has_task() == (self.way.name == "way-two")

    def waiting(self) -> int:
        assert self.way.proxy.app is not None
        client = self.way.proxy.app.router.default.http._client  # type: ignore[attr-defined]
        return sum(pool.queued for pool in client.pools)

    async def release_when_drained(self) -> None:
        """Let the backend answer once nobody listens; all who wait have a task then."""
        await closed(self.way.proxy.port)
        assert has_task()
        self.go_on.set()

    def nothing_left(self) -> bool:
        return self.waiting() == 0 and self.way.left_behind(self.host) == []


@asynccontextmanager
async def busy(way: Way, *, close: bool = False) -> AsyncIterator[Busy]:
    """The backend numbers its answers by request; with `close` each connection has but one."""
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        while True:
            target = (await conversation.receive()).head.split()[1]
            if target != b"/":
                await go_on.wait()
            await conversation.send(answer(target))
            if close and target != b"/":
                return

    async with scripted(script) as backend:
        crowd = Busy(way, backend, go_on)
        await way.proxy.route(crowd.host.decode(), backend)
        assert (await way.proxy.get(host=crowd.host)).endswith(b"/")
        await way.settled()
        yield crowd


def numbered(count: int, method: bytes = b"GET") -> list[bytes]:
    """Requests for /0, /1 …"""
    rest = b" HTTP/1.1\r\nHost: %b\r\n" + (b"Content-Length: 0\r\n" * (method == b"POST"))
    return [b"%b /%d" % (method, number) + rest + b"\r\n" for number in range(count)]


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("close", [False, True], ids=["kept", "closed unannounced"])
async def test_who_waits_for_a_connection_is_served_in_turn(
    valkey: RedisServer, tmp_path: Path, method: bytes, close: bool
) -> None:
    async with two_ways(valkey, tmp_path, **QUEUE) as ways:
        for way in ways:
            async with busy(way, close=close) as crowd:
                clients = await crowd.ask(*numbered(1, method))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                for request in numbered(6, method)[1:]:
                    clients += await crowd.ask(request)
                    await crowd.queued(len(clients) - 1)
                crowd.go_on.set()
                replies = [(await client.response())[2] for client in clients]
                assert replies == [b"/%d" % number for number in range(6)]
                await way.settled()
                assert crowd.nothing_left()
                asked = [r.head.split()[1] for r in crowd.backend.requests[1:]]
                # One that finds its connection closed after all takes the next that is free.
                assert (sorted(asked) if close else asked) == replies


async def test_who_leaves_the_queue_lets_the_others_go_on(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with two_ways(valkey, tmp_path, **QUEUE) as ways:
        for way in ways:
            async with busy(way) as crowd:
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                for request in numbered(4)[1:]:
                    clients += await crowd.ask(request)
                    await crowd.queued(len(clients) - 1)
                clients[2].reset()
                await crowd.queued(2)
                crowd.go_on.set()
                for number in (0, 1, 3):
                    assert (await clients[number].response())[2] == b"/%d" % number
                await way.settled()
                assert crowd.nothing_left()
    for way in ways:
        assert sorted(way.log.read_text().splitlines()) == ["200 1 -"] * 4 + ["499 1 client left"]


@pytest.mark.parametrize(
    ("limit", "error"),
    [({"queueTimeout": 0.05}, "the backend is busy"), ({"maxQueue": 1}, "too many wait")],
)
async def test_who_waits_in_vain_gets_503(
    valkey: RedisServer, tmp_path: Path, limit: dict[str, Any], error: str
) -> None:
    async with two_ways(valkey, tmp_path, **QUEUE, retryOnError=0, **limit) as ways:
        for way in ways:
            async with busy(way) as crowd:
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                for request in numbered(3)[1:]:
                    clients += await crowd.ask(request)
                status, headers, _ = await clients[2].response()
                assert (status, b"retry-after" in headers) == (503, True)
                crowd.go_on.set()
                assert (await clients[0].response())[2] == b"/0"
                await clients[1].response()
                await way.settled()
                assert crowd.nothing_left()
    below, through = [sorted(way.log.read_text().splitlines()) for way in ways]
    assert below == through
    assert error in below[-1]


async def test_who_waits_for_a_connection_when_the_worker_drains_is_answered(
    valkey: RedisServer, tmp_path: Path
) -> None:
    for asgi in (False, True):
        async with AsyncExitStack() as stack:
            async with proxying(valkey, asgi=asgi, maxSockets=1) as proxy:
                way = Way(proxy, Path(), "way-two" if asgi else "way-one")
                crowd = await stack.enter_async_context(busy(way))
                clients = await crowd.ask(*numbered(1))
                await crowd.backend.until(lambda backend: len(backend.requests) == 2)
                clients += await crowd.ask(*numbered(2)[1:])
                await crowd.queued(1)
                proxy.clients.clear()  # they stay
                replies = [asyncio.create_task(rest_of(client)) for client in clients]
                released = asyncio.create_task(crowd.release_when_drained())
            assert [(await reply)[-2:] for reply in replies] == [b"/0", b"/1"]
            await released


class Broken(FixedRoutes):
    """Routes whose method of the name `breaks` raises."""

    breaks = ""

    def known(self, host: str) -> Route | None:
        if self.breaks == "known":
            raise RuntimeError("boom")
        return super().known(host)

    def marks_of(self, frontend: Frontend) -> Marks:
        if self.breaks == "marks_of":
            raise RuntimeError("boom")
        return super().marks_of(frontend)


@pytest.mark.parametrize("asgi", [False, True])
@pytest.mark.parametrize(
    "breaks", [pytest.param("known", id="on the way"), pytest.param("marks_of", id="on the answer")]
)
async def test_a_defect_of_ours_is_answered_500_and_told(
    valkey: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    asgi: bool,
    breaks: str,
) -> None:
    log = {"accessLog": str(tmp_path / "log"), "accessLogFormat": "{status} {error}"}

    async def script(conversation: Conversation) -> None:
        while True:
            bad = (await conversation.receive()).line[1] == b"/bad"
            await conversation.send(answer(status=b"502 Bad") if bad else answer(b"x"))

    async with scripted(script) as backend:
        # A second URL of the same one: a frontend's only backend is never judged.
        same = f"http://localhost:{backend.port}"
        routes = Broken(f"http://127.0.0.1:{backend.port}", same, host=b"a.test")
        app = create_app(config_of(valkey, **log), store=routes)
        if asgi:
            app.add_middleware(PassingOn)
        async with serving(app) as port:
            proxy = Proxy(port, valkey, app)
            way = Way(proxy, tmp_path / "log", "way")
            for _ in range(12):  # both have a connection that is kept
                assert b" 200 " in await proxy.get()
            routes.breaks = breaks
            reply = await proxy.get(b"/bad")
            await way.settled()
            routes.breaks = ""
            left = way.left_behind(b"a.test")
            assert b" 200 " in await proxy.get()
    assert reply.startswith(b"HTTP/1.1 500 ")
    assert b"boom" not in reply
    assert left == []
    [told] = [record for record in caplog.records if record.name == "app.server.exchange"]
    assert told.exc_info is not None
    assert isinstance(told.exc_info[1], RuntimeError)
    assert "500 RuntimeError: boom" in (tmp_path / "log").read_text().splitlines()


async def test_only_our_own_application_is_served_below_asgi(valkey: RedisServer) -> None:
    """A middleware sees every request; so does whoever wraps the application."""
    app = create_app(config_of(valkey))
    seen: list[str] = []

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        await app(scope, receive, send)

    async with serving(wrapped) as port, scripted(sending_always) as backend:
        proxy = Proxy(port, valkey)
        await proxy.route("a.test", backend)
        for _ in range(3):
            assert b" 200 " in await proxy.get()
    assert seen.count("http") == 3


async def sending_always(conversation: Conversation) -> None:
    while True:
        await conversation.receive()
        await conversation.send(answer(b"x"))
