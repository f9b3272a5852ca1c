"""Which attempts follow a failed one, through the whole proxy; and who waits for a retry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.backends import Conversation, answer, answering, resetting, scripted, silent
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey) as proxy:
        yield proxy


async def test_a_refused_post_goes_to_another_backend_whole(proxy: Proxy) -> None:
    async with answering(answer(b"ok")) as alive:
        dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
        await proxy.route("a.test", *dead, alive)
        for _ in range(5):
            assert (await proxy.talk(POST)).endswith(b"ok")
    assert [request.body for request in alive.requests] == [b"body"] * 5


async def test_a_get_whose_backend_resets_goes_to_another(proxy: Proxy) -> None:
    async with resetting() as bad, answering(answer(b"ok")) as good:
        await proxy.route("a.test", bad, good)
        while not bad.requests:  # the first choice is a matter of chance
            assert (await proxy.get()).endswith(b"ok")
        assert (await proxy.get()).endswith(b"ok")


async def test_a_post_is_never_sent_twice_once_a_byte_of_it_left(proxy: Proxy) -> None:
    async with resetting() as one, resetting() as two:
        await proxy.route("a.test", one, two)
        assert b" 502 " in await proxy.talk(POST)
    assert len(one.requests) + len(two.requests) == 1


@pytest.mark.parametrize(
    ("method", "options", "times"),
    [
        pytest.param(b"GET", {}, 1, id="a timeout is not tried again"),
        pytest.param(b"GET", {"retryTimeouts": True}, 3, id="unless that is asked for"),
        pytest.param(b"PUT", {"retryTimeouts": True}, 1, id="and never for what may change things"),
    ],
)
async def test_how_often_backends_get_a_request_that_takes_too_long(
    valkey: RedisServer, method: bytes, options: dict[str, bool], times: int
) -> None:
    request = b"%b /report HTTP/1.1\r\nHost: a.test\r\n\r\n" % method
    async with (
        proxying(valkey, responseTimeout=0.05, retryOnError=2, **options) as proxy,
        silent() as one,
        silent() as two,
    ):
        await proxy.route("a.test", one, two)
        assert b" 504 " in await proxy.talk(request)
        assert len(one.requests) + len(two.requests) == times


async def test_retries_end(valkey: RedisServer) -> None:
    async with proxying(valkey, retryOnError=2) as proxy, resetting() as backend:
        await proxy.route("a.test", backend)
        assert b" 502 " in await proxy.get()
    assert len(backend.requests) == 3


async def test_connections_closed_while_idle_fail_no_request_however_many(
    valkey: RedisServer,
) -> None:
    """All kept connections go at once, with requests on their way; retries are switched off."""
    together = 40
    everybody = asyncio.Barrier(together)

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        if conversation.number < together:
            await everybody.wait()
        await conversation.send(answer(b"first"))
        await conversation.receive()  # it came, and the connection is closed without an answer
        if conversation.number >= together:
            await conversation.send(answer(b"second"))

    async with proxying(valkey, retryOnError=0) as proxy, scripted(script) as backend:
        await proxy.route("a.test", backend)
        assert all(
            b" 200 " in r for r in await asyncio.gather(*[proxy.get() for _ in range(together)])
        )
        replies = await asyncio.gather(*[proxy.get() for _ in range(together)])
    assert all(b" 200 " in reply for reply in replies)


async def test_a_client_stays_where_it_was_when_its_connection_was_closed(proxy: Proxy) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"%d" % conversation.backend.port))
        await conversation.receive()

    async with scripted(script) as one, scripted(script) as two:
        async with proxy.valkey.client as redis:
            await redis.hset("options:a.test", mapping={"sticky": "on"})
        await proxy.route("a.test", one, two)
        client = await proxy.connect()
        client.send(GET)
        _, head, home = await client.response()
        cookie = head.partition(b"set-cookie: ")[2].partition(b";")[0]
        client.send(GET[:-2] + b"Cookie: %b\r\n\r\n" % cookie)
        assert (await client.response())[2] == home


@pytest.mark.parametrize("sent", [b"garbage that is no answer", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_after_a_byte_of_an_answer_nothing_is_sent_again(proxy: Proxy, sent: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(sent)

    async with scripted(script) as one, scripted(script) as two:
        await proxy.route("a.test", one, two)
        assert (await proxy.get()).startswith(b"HTTP/1.1 502")
        assert len(one.requests) + len(two.requests) == 1


async def test_a_body_that_was_half_sent_arrives_whole_at_the_next(proxy: Proxy) -> None:
    half_read = asyncio.Event()
    bodies = []

    async def script(conversation: Conversation) -> None:
        if not half_read.is_set():
            await conversation.head()
            await conversation.reader.readexactly(9)
            half_read.set()
            conversation.reset()
        else:
            bodies.append((await conversation.receive()).body)
            await conversation.send(answer(b"done"))

    async with scripted(script) as one, scripted(script) as two:
        await proxy.route("a.test", one, two)
        client = await proxy.connect()
        client.send(CHUNKED + b"4\r\nhalf\r\n")
        await half_read.wait()
        client.send(b"4\r\nrest\r\n0\r\n\r\n")
        assert (await client.response())[2] == b"done"
        assert bodies == [b"halfrest"]
        assert (one.accepted, two.accepted) == (1, 1)


async def test_a_body_too_large_to_hold_is_not_sent_again(valkey: RedisServer) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.reader.readexactly(9)
        conversation.reset()

    async with (
        proxying(valkey, retryBuffer=3) as proxy,
        scripted(script) as one,
        scripted(script) as two,
    ):
        await proxy.route("a.test", one, two)
        client = await proxy.connect()
        client.send(CHUNKED + b"4\r\nhalf\r\n")
        assert (await client.response())[0] == 502
        assert one.accepted + two.accepted == 1
