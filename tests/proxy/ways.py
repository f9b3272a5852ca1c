"""The same proxy served below ASGI and through it, and what is seen at each."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from app.proxy.gateway import Gateway
from tests.backends import Conversation, ScriptedBackend, answer, scripted
from tests.redis_servers import RedisServer
from tests.server.serving import Client
from tests.serving import Proxy, proxying

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
        route = self.gateway.decisions._routes.known(host.decode())
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
                line[name] = line[name] and line[name].replace(self.name, "case")
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
        ports = {backend.port: "BACKEND", way.proxy.port: "PROXY"}
        got = backend.requests[1:]
    if isinstance(received, bytes):
        received = re.sub(rb"(?<=\r\ndate: )[^\r]+ GMT", b"NOW", received)
    said = repr(
        [
            received,
            [[line for line in r.head.split(b"\r\n") if b"x-request-id" not in line] for r in got],
            [(r.body, r.trailers) for r in got],
        ]
    )
    return {"said": unnumbered(said, ports).replace(way.name, "case"), "left": left}


def unnumbered(said: str, ports: Mapping[int, str]) -> str:
    """`said` without what differs from run to run. A request's id may hold a port's digits."""
    said = re.sub(r"[0-9a-f]{26}", "ID", said)
    for port, name in ports.items():
        said = re.sub(rf"(?<!\d){port}(?!\d)", name, said)
    return said


async def alike(ways: list[Way], cases: Mapping[Any, tuple[Rest, bytes]]) -> None:
    """Each case is seen alike by all ways, and none leaves an attempt behind."""
    below, through = [
        {name: await seen(way, rest, request) for name, (rest, request) in cases.items()}
        for way in ways
    ]
    for name in cases:
        assert below[name] == through[name], name
        assert below[name]["left"] == [], name
    assert all(ways[1].tasks)


def logged_alike(ways: list[Way]) -> list[dict[str, Any]]:
    """The lines of their access logs, which are the same; they are whole when the ways ended."""
    logs = [way.lines() for way in ways]
    for line in chain(*logs):
        # Ports differ, and so does what a test's client makes of its end.
        line["backend"] = line["backend"] is not None
        line["retried_from"] = len(line["retried_from"])
    assert logs[0] == logs[1]
    return logs[0]


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
