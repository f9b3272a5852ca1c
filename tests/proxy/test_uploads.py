"""Bodies of requests: sent on as they come, held for a retry within a bound."""

from __future__ import annotations

import asyncio

import pytest

from tests.backends import Conversation, answer, answering, scripted, silent
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

HEAD = b"%b / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("method", [b"POST", b"PUT"])
async def test_the_backend_sees_what_has_come_of_a_small_body(
    valkey: RedisServer, method: bytes
) -> None:
    seen = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        assert await conversation.reader.readexactly(3) == b"abc"
        seen.set()
        assert await conversation.reader.readexactly(7) == b"defghij"
        await conversation.send(answer(b"done"))

    async with proxying(valkey) as proxy, scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(HEAD % (method, 10) + b"abc")
        await seen.wait()
        client.send(b"defghij")
        assert (await client.response())[0::2] == (200, b"done")


@pytest.mark.parametrize(
    ("request_", "arrives"),
    [
        pytest.param(HEAD % (b"POST", 10) + b"0123456789", b"\r\n\r\n0123456789", id="a length"),
        pytest.param(CHUNKED + b"2\r\nab\r\n0\r\n\r\n", b"2\r\nab\r\n0\r\n\r\n", id="chunks"),
        pytest.param(CHUNKED + b"0\r\n\r\n", b"\r\n\r\n0\r\n\r\n", id="no chunk"),
    ],
)
async def test_a_body_that_came_with_its_head_leaves_with_it(
    valkey: RedisServer, request_: bytes, arrives: bytes
) -> None:
    first = b""

    async def script(conversation: Conversation) -> None:
        nonlocal first
        first = await conversation.reader.read(65536)  # the proxy's first write, or all there is
        await conversation.send(answer(b"done"))

    async with proxying(valkey) as proxy, scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(request_)
        assert (await client.response())[0] == 200
    assert first.endswith(arrives)


@pytest.mark.usefixtures("either_way")
async def test_a_dead_backend_costs_no_byte_of_a_body_under_way(valkey: RedisServer) -> None:
    """Nothing was sent, so any method may go on to the next one, even where nothing is held."""
    bodies = []
    begun = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        begun.set()
        bodies.append(await conversation.reader.readexactly(10))
        await conversation.send(answer(b"done"))

    async with proxying(valkey, retryBuffer=0) as proxy, scripted(script) as backend:
        for number in range(8):  # the first one is chosen by chance
            host = f"{number}.test"
            await proxy.route(host, "http://127.0.0.1:1", backend)
            client = await proxy.connect()
            begun.clear()
            client.send((HEAD % (b"POST", 10)).replace(b"a.test", host.encode()) + b"abc")
            await begun.wait()
            client.send(b"defghij")
            assert (await client.response())[0] == 200
    assert bodies == [b"abcdefghij"] * 8


async def half(conversation: Conversation) -> None:
    """Take 3 bytes of a body, then crash."""
    await conversation.head()
    await conversation.reader.readexactly(3)
    conversation.reset()


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("method", "options", "attempts"),
    [
        pytest.param(b"PUT", {}, 4, id="what is idempotent is sent again"),
        pytest.param(b"POST", {}, 1, id="a POST may have been acted on"),
        pytest.param(b"PUT", {"retryBuffer": 2}, 1, id="too large to hold"),
        pytest.param(b"PUT", {"retryMemory": 2}, 1, id="no memory is left to hold it"),
        pytest.param(b"PUT", {"retryMemory": 8}, 1, id="beyond the client's share"),
        pytest.param(b"PUT", {"retryMemory": 0}, 4, id="without a bound"),
    ],
)
async def test_half_a_body_was_sent_to_a_backend_that_crashed(
    valkey: RedisServer, method: bytes, options: dict[str, int], attempts: int
) -> None:
    async with (
        proxying(valkey, **options) as proxy,
        scripted(half) as one,
        scripted(half) as two,
    ):
        await proxy.route("a.test", one, two)
        client = await proxy.connect()
        client.send(HEAD % (method, 10) + b"abc")
        assert (await client.response())[0] == 502
        assert one.accepted + two.accepted == attempts


async def test_a_request_that_cannot_be_held_is_served_all_the_same(valkey: RedisServer) -> None:
    async with (
        proxying(valkey, retryMemory=1) as proxy,
        answering(*[answer(b"done")] * 2) as backend,
    ):
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        for _ in range(2):
            client.send(HEAD % (b"PUT", 10) + b"0123456789")
            assert (await client.response())[0::2] == (200, b"done")
    assert [request.body for request in backend.requests] == [b"0123456789"] * 2


@pytest.mark.parametrize("ends", ["reset", "end"])
@pytest.mark.usefixtures("either_way")
async def test_a_client_that_leaves_inside_a_small_body_cuts_the_backend(
    valkey: RedisServer, ends: str
) -> None:
    async with proxying(valkey) as proxy, silent() as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(HEAD % (b"POST", 10) + b"abc")
        await backend.until(lambda b: len(b.requests) == 1)
        getattr(client, ends)()
        await backend.until(lambda b: b.open == 0)


@pytest.mark.usefixtures("either_way")
async def test_a_small_body_that_never_ends_is_cut_in_time(valkey: RedisServer) -> None:
    async with proxying(valkey, tcpTimeout=0.2) as proxy, silent() as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(HEAD % (b"POST", 10) + b"abc")
        assert (await client.response())[0] == 408
        await backend.until(lambda b: b.open == 0)


@pytest.mark.usefixtures("either_way")
async def test_a_refusal_of_a_small_upload_reaches_the_client(valkey: RedisServer) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(answer(b"no", status=b"401 Unauthorized"))
        await conversation.gone()

    async with proxying(valkey) as proxy, scripted(script) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(HEAD % (b"POST", 10) + b"abc")
        assert (await client.response())[0::2] == (401, b"no")


class Taken:
    """A backend whose only connection is taken by a request that gets no answer for now."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            await self.go.wait()
            await conversation.send(answer(b"done"))


async def waiting(proxy: Proxy, taken: Taken) -> None:
    client = await proxy.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")


async def test_a_body_waits_for_a_connection_within_the_bound(valkey: RedisServer) -> None:
    taken = Taken()
    async with (
        scripted(taken) as backend,
        proxying(valkey, retryMemory=400, maxSockets=1, queueTimeout=30) as proxy,
    ):
        await proxy.route("a.test", backend)
        await waiting(proxy, taken)
        await backend.until(lambda b: len(b.requests) == 1)
        large, small, growing = [await proxy.connect() for _ in range(3)]
        large.send(HEAD % (b"POST", 102) + b"x" * 101)
        status, head, _ = await large.response()
        assert status == 503
        assert b"retry-after: 1\r\n" in head.lower()
        assert b"connection: close\r\n" in head.lower()
        assert await large.rest() == b""
        small.send(HEAD % (b"POST", 60) + b"y" * 60)
        growing.send(HEAD % (b"POST", 99) + b"z")
        growing.send(b"z" * 30)
        growing.send(b"z" * 30)
        assert (await growing.response())[0] == 503
        taken.go.set()
        assert (await small.response())[0::2] == (200, b"done")
        held = (await proxy.connect(), b"w" * 100)
        held[0].send(HEAD % (b"POST", 100) + held[1])  # all was given back
        assert (await held[0].response())[0] == 200
    assert [r.body for r in backend.requests] == [b"", b"y" * 60, b"w" * 100]


def post(host: bytes, length: int) -> bytes:
    return (HEAD % (b"POST", length)).replace(b"a.test", host)


async def test_a_body_waits_for_a_decision_within_the_bound(valkey: RedisServer) -> None:
    """So it does for a host that the store has to be asked for: each of these is another one."""
    go = asyncio.Event()

    async def decide(conversation: Conversation) -> None:
        while await conversation.receive():
            await go.wait()
            await conversation.send(answer())

    async with (
        scripted(decide) as guard,
        answering(answer(b"done")) as backend,
        proxying(valkey, retryMemory=400) as proxy,
    ):
        await proxy.route("*.test", backend)
        async with valkey.client as client:
            await client.hset("options:*.test", "forwardAuth", guard.url)
        large, small, growing, after = [await proxy.connect() for _ in range(4)]
        large.send(post(b"large.test", 102) + b"x" * 101)
        status, head, _ = await large.response()
        assert status == 503
        assert b"retry-after: 1\r\n" in head.lower()
        small.send(post(b"small.test", 60) + b"y" * 60)
        await guard.until(lambda g: len(g.requests) == 1)
        growing.send(post(b"growing.test", 99) + b"z")
        await guard.until(lambda g: len(g.requests) == 2)
        growing.send(b"z" * 60)
        assert (await growing.response())[0] == 503
        go.set()
        assert (await small.response())[0::2] == (200, b"done")
        after.send(post(b"after.test", 100) + b"w" * 100)  # all was given back
        assert (await after.response())[0] == 200
    assert [r.body for r in backend.requests] == [b"y" * 60, b"w" * 100]
