"""Requests that repeat a head on one connection: backends get of each what the first has had."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.fields.known_fields import RequestFields
from app.fields.passing import STRANGERS
from app.proxy.backend_fields import fields_of
from app.proxy.request import Request
from app.server.peer import Peer
from app.server.repetition import Repetition
from tests.backends import ScriptedBackend, answer, answering
from tests.hooks.modules import Write, loaded, write_hooks
from tests.redis_servers import RedisServer
from tests.server.http2.frames import Http2Client, head, speaking
from tests.server.serving import Client
from tests.serving import Proxy, proxying

__all__ = ["write_hooks"]

HEADS = {
    "a host": b"",
    "a browser's": b"User-Agent: x\r\nAccept: */*\r\nCookie: a=b\r\nAccept-Language: de, en\r\n",
    "a stranger's claims": b"X-Forwarded-For: 1.2.3.4\r\nX-Request-Id: mine\r\nForwarded: a\r\n",
    "hop by hop": b"Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n",
    "named by Connection": b"X-A: 1\r\nConnection: x-a, keep-alive\r\nX-B: 2\r\n",
    "trailers": b"TE: trailers\r\nConnection: te\r\n",
    "twice": b"X-A: 1\r\nX-A: 2\r\nX-A: 1\r\n",
    "through proxies": b"Via: 1.1 other\r\nVia: 1.0 another\r\n",
    "empty": b"X-A:\r\nX-B: \t \r\n",
    "no body": b"Content-Length: 0\r\n",
}
ID = re.compile(rb"(?<=\r\nx-request-id: )[^\r]+")


@pytest.fixture
async def backend() -> AsyncIterator[ScriptedBackend]:
    async with answering(answer(b"hello")) as backend:
        yield backend


@pytest.fixture
async def proxy(valkey: RedisServer, backend: ScriptedBackend) -> AsyncIterator[Proxy]:
    async with proxying(valkey, trustedProxies=["127.0.0.2/32"], forwarded=True) as proxy:
        await proxy.route("a.test", backend)
        yield proxy


async def asked(
    client: Client, *fields: bytes, target: bytes = b"/", method: bytes = b"GET"
) -> None:
    """Ask as often as there are lists of fields."""
    for lines in fields:
        client.send(b"%b %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (method, target, lines))
        assert (await client.response())[2] == b"hello"


def got(backend: ScriptedBackend) -> list[bytes]:
    """The heads since the last call, without their ids, which all differ."""
    heads = [request.head for request in backend.requests]
    ids = [found for head in heads for found in ID.findall(head)]
    assert len(ids) == len(heads) == len({*ids} - {b"mine"}) + ids.count(b"mine")
    backend.requests.clear()
    return [ID.sub(b"ID", head) for head in heads]


async def test_each_repetition_reaches_the_backend_as_the_first(
    proxy: Proxy, backend: ScriptedBackend
) -> None:
    one = await proxy.connect()
    for lines in HEADS.values():
        await asked(await proxy.connect(), lines)
        [alone] = got(backend)
        await asked(one, *[lines] * 4)
        assert got(backend) == [alone] * 4
        await asked(one, *[lines] * 2, target=b"/b?c")
        assert got(backend) == [alone.replace(b"GET / ", b"GET /b?c ")] * 2
        await asked(one, lines, method=b"OPTIONS")
        assert got(backend) == [alone.replace(b"GET / ", b"OPTIONS / ")]


async def test_one_that_differs_gets_its_own(proxy: Proxy, backend: ScriptedBackend) -> None:
    one = await proxy.connect()
    for lines in HEADS.values():
        await asked(one, *[lines] * 3, lines + b"X-C: 3\r\n", *[lines] * 3)
        first, *same, other, third, fourth, fifth = got(backend)
        assert {*same, third, fourth, fifth} == {first}
        assert [*other.split(b"\r\n")].count(b"x-c: 3") == 1


HTTP2_HEADS: dict[str, list[tuple[bytes, bytes]]] = {
    "a host": [],
    "a browser's": [(b"user-agent", b"x"), (b"cookie", b"a=b"), (b"cookie", b"c=d")],
    "a stranger's claims": [(b"x-forwarded-for", b"1.2.3.4"), (b"x-request-id", b"mine")],
    "trailers": [(b"te", b"trailers")],
    "twice": [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-a", b"1")],
    "a host of its own": [(b"host", b"a.test"), (b"x-a", b"")],
}


async def test_each_repetition_over_http2_reaches_the_backend_as_the_first(
    valkey: RedisServer, backend: ScriptedBackend
) -> None:
    async with proxying(valkey, http2=True) as proxy:
        await proxy.route("a.test", backend)
        async with speaking(proxy.port) as one:
            for number, fields in enumerate(HTTP2_HEADS.values()):
                first = 1 + 100 * number
                async with speaking(proxy.port) as other:
                    await asked_together(other, 1, [fields], b"/")
                [alone] = got(backend)
                await asked_together(one, first, [fields] * 6, b"/")
                assert got(backend) == [alone] * 6
                await asked_together(one, first + 20, [fields] * 2, b"/b?c")
                assert got(backend) == [alone.replace(b"GET / ", b"GET /b?c ")] * 2
                more = [*fields, (b"x-c", b"3")]
                await asked_together(one, first + 40, [fields, more, fields, fields], b"/")
                plain = [head for head in got(backend) if b"\r\nx-c: 3\r\n" not in head]
                assert plain == [alone] * 3


async def asked_together(
    client: Http2Client, first: int, lists: list[list[tuple[bytes, bytes]]], path: bytes
) -> None:
    """Ask for `path` with each list of fields, all at a time, on the streams from `first` on."""
    streams = range(first, first + 2 * len(lists), 2)
    for stream, fields in zip(streams, lists, strict=True):
        client.request(stream, [*head(path=path), *fields])
    for stream in streams:
        assert (await client.answer(stream)).body == b"hello"


async def test_whose_it_is_follows_from_the_connection(
    proxy: Proxy, backend: ScriptedBackend
) -> None:
    """One client is a proxy of ours, the other is not; both say the same."""
    claims = HEADS["a stranger's claims"]
    ends = [
        Client(*await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=(address, 0)))
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    ]
    proxy.clients += ends
    for _ in range(4):
        for end in ends:
            await asked(end, claims)
    claimed = [request.get(b"x-request-id") == b"mine" for request in backend.requests]
    seen = [request.get(b"x-forwarded-for") for request in backend.requests]
    assert claimed == [False, True, False] * 4
    assert seen == [b"127.0.0.1", b"1.2.3.4, 127.0.0.2", b"127.0.0.3"] * 4


async def test_what_a_frontend_asks_for_holds_at_once(
    proxy: Proxy, backend: ScriptedBackend
) -> None:
    """Another backend, then a service whose word goes to the backend, then neither."""
    one = await proxy.connect()
    await asked(one, *[b""] * 3)
    [plain, *_] = got(backend)

    async def asks_until(found: ScriptedBackend, line: bytes) -> bytes:
        async with asyncio.timeout(20):
            while True:
                await asked(one, b"")
                if heads := [head for head in got(found) if line in head]:
                    return heads[-1]

    yes = answer(b"", b"X-User: alice", status=b"204 Yes")
    async with (
        answering(answer(b"hello")) as second,
        answering(yes) as service,
        proxy.valkey.client as redis,
    ):
        await redis.lset("frontend:a.test", 1, second.url)
        assert await asks_until(second, plain) == plain
        options = {"forwardAuth": service.url, "forwardAuthCopy": "x-user"}
        await redis.hset("options:a.test", mapping=options)
        told = await asks_until(second, b"x-user: alice")
        assert told.replace(b"x-user: alice\r\n", b"") == plain
        await asked(one, *[b""] * 3)
        assert got(second) == [told] * 3
        await redis.delete("options:a.test")
        await redis.lset("frontend:a.test", 1, backend.url)
        assert await asks_until(backend, plain) == plain


async def test_a_prefix_that_ends_here_is_taken_off_each_time(
    proxy: Proxy, backend: ScriptedBackend
) -> None:
    await proxy.route("a.test/api", backend)
    async with proxy.valkey.client as redis:
        await redis.sadd("paths:a.test", "/api")
        await redis.hset("options:a.test/api", "strip", "on")
    one = await proxy.connect()
    for target in (b"/api/b", b"/", b"/api/c") * 4:
        await asked(one, b"", target=target)
    lines = [(request.line[1], request.get(b"x-forwarded-prefix")) for request in backend.requests]
    assert lines == [(b"/b", b"/api"), (b"/", None), (b"/c", b"/api")] * 4


async def test_what_a_hook_changes_is_that_request_s_own(
    valkey: RedisServer, backend: ScriptedBackend, write_hooks: Write
) -> None:
    name = write_hooks(
        """
        turn = 0
        def on_request(request):
            global turn
            turn += 1
            if turn % 3 == 0:
                request.set_header("X-Turn", str(turn))
            if turn % 3 == 1:
                request.remove_header("User-Agent")
        """
    )
    async with proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", backend)
        one = await proxy.connect()
        await asked(one, *[b"User-Agent: x\r\n"] * 9)
        assert loaded(name).turn == 9
    turns = [request.get(b"x-turn") for request in backend.requests]
    agents = [request.get(b"user-agent") for request in backend.requests]
    assert turns == [None, None, b"3", None, None, b"6", None, None, b"9"]
    assert agents == [None, b"x", b"x"] * 3


async def test_each_is_logged_with_its_own_id_target_and_client(
    valkey: RedisServer, backend: ScriptedBackend, write_hooks: Write, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    hooks = write_hooks(
        """
        def on_request(request):
            if request.target == "/hidden":
                request.remove_header("User-Agent")
        """
    )
    line = "{request_id} {client} {request} {host} {user_agent}"
    how = {"accessLog": str(log), "accessLogFormat": line, "trustedProxies": ["127.0.0.1"]}
    claims = b"X-Forwarded-For: 192.0.2.%d\r\nUser-Agent: x\r\n"
    async with proxying(valkey, hooks=hooks, **how) as proxy:
        await proxy.route("a.test", backend)
        one = await proxy.connect()
        for client in (1, 2):
            for target in (b"/", b"/", b"/b", b"/hidden", b"/"):
                await asked(one, claims % client, target=target)
    ids = [request.get(b"x-request-id") for request in backend.requests]
    assert len({*ids}) == 10
    wanted = [
        f"192.0.2.{client} GET {target} HTTP/1.1 a.test {agent}"
        for client in (1, 2)
        for target, agent in (("/", "x"), ("/", "x"), ("/b", "x"), ("/hidden", "-"), ("/", "x"))
    ]
    told = [f"{(number or b'').decode()} {line}" for number, line in zip(ids, wanted, strict=True)]
    assert log.read_text().splitlines() == told


def test_fields_that_were_changed_on_the_way_are_made_anew() -> None:
    came = [(b"host", b"a.test"), (b"user-agent", b"x")]
    repetition = Repetition([*came])
    repetition.ours = ((b"via", b"1.1 us"),)

    def request(number: bytes) -> Request:
        request = Request(b"GET", b"/", [*came], Peer(None, None), "1.1", None, repetition)
        request.ours, request.passing = repetition.ours, STRANGERS
        request.id_field = (b"x-request-id", number)
        return request

    def whole(request: Request) -> list[tuple[bytes, bytes]]:
        return [*request.headers, *request.ours, request.id_field]

    for number in (b"1", b"2", b"3"):
        asked = request(number)
        assert fields_of(asked) == whole(asked)
        assert isinstance(fields_of(asked), RequestFields)
        for change in (
            lambda request: request.headers.pop(),
            lambda request: request.headers.append((b"x-a", b"1")),
            lambda request: setattr(request, "headers", [(b"host", b"b.test")]),
            lambda request: setattr(request, "ours", (*request.ours, (b"x-a", b"1"))),
            lambda request: setattr(request, "ours", ()),
        ):
            changed = request(number)
            change(changed)
            assert fields_of(changed) == whole(changed)
            assert not isinstance(fields_of(changed), RequestFields)
        fields_of(asked).clear()
