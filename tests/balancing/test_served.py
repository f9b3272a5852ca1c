"""Health and balancing through the whole proxy, with the options that an operator writes."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from app.main import create_app
from tests import resolver
from tests.backends import Conversation, answer, answering, refusing, resetting, scripted
from tests.redis_servers import RedisServer, until
from tests.serving import Proxy, config_of, proxying, serving

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def set_options(proxy: Proxy, **fields: str) -> None:
    async with proxy.valkey.client as redis:
        await redis.hset("options:a.test", mapping=fields)


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
async def test_a_backend_that_refuses_costs_no_request(
    valkey: RedisServer, request_: bytes
) -> None:
    async with proxying(valkey) as proxy, answering(answer(b"hello")) as alive, refusing() as dead:
        await proxy.route("a.test", dead, alive)
        replies = [await proxy.talk(request_) for _ in range(20)]
    assert all(reply.endswith(b"hello") for reply in replies)
    async with valkey.client as redis:
        assert await redis.smembers("dead:a.test") == {"0"}
        [(url, entry)] = (await redis.hgetall("dead-info:a.test")).items()
    assert url == dead
    assert json.loads(entry)["reason"] == "cannot connect to the backend: Connection refused"


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
async def test_a_dead_backend_is_tried_once_for_each_trial(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    """With requests at once. It dies in the TLS handshake, so that attempts can be counted."""
    together, over = 8, asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.send(b"this is no TLS")

    def deaths() -> int:
        return len([message for message in caplog.messages if "backend dead" in message])

    async def client() -> None:
        while not over.is_set():
            assert (await proxy.talk(request_)).endswith(b"hello")

    short = {"deadBackendTTL": 0.2, "deadBackendMaxTTL": 0.2}
    async with (
        proxying(valkey, **short) as proxy,
        answering(answer(b"hello")) as alive,
        scripted(script) as dead,
    ):
        await proxy.route("a.test", dead.url.replace("http:", "https:"), alive)
        async with asyncio.TaskGroup() as clients:
            for _ in range(together):
                clients.create_task(client())
            await until(lambda: deaths() >= 4, seconds=20)
            over.set()
    trials = deaths() - 1
    assert trials < dead.accepted <= together + trials


async def test_a_resolver_that_fails_blames_nobody(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = resolver.failing(monkeypatch, socket.EAI_AGAIN)
    async with proxying(valkey) as proxy, answering(answer(b"hello")) as alive:
        await proxy.route("a.test", "http://named.test", alive)
        await proxy.route("b.test", "http://named.test")
        for _ in range(20):
            assert (await proxy.talk(POST)).endswith(b"hello")
        alone = await proxy.get(host=b"b.test")
    assert set(names) == {"named.test"}
    assert alone.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in alone.lower()
    async with valkey.client as redis:
        assert await redis.keys("dead*") == []


async def test_a_post_that_was_sent_is_not_sent_again(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy, resetting() as one, resetting() as two:
        await proxy.route("a.test", one, two)
        assert (await proxy.talk(POST)).startswith(b"HTTP/1.1 502 ")
        assert len(one.requests) + len(two.requests) == 1
        assert (await proxy.talk(GET)).startswith(b"HTTP/1.1 502 ")
        assert len(one.requests) + len(two.requests) > 2


async def test_options_in_redis_decide_and_mistakes_cost_nothing(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxying(valkey) as proxy, answering(answer()) as one, answering(answer()) as two:
        await proxy.route("a.test", one, two)
        await set_options(proxy, **{f"drain:{one.url}": "on", "policy": "fastest"})
        for _ in range(10):
            assert (await proxy.get()).startswith(b"HTTP/1.1 200 ")
    assert (len(one.requests), len(two.requests)) == (0, 10)
    assert [m for m in caplog.messages if "option unusable" in m] == [
        "option unusable frontend=a.test cause=policy 'fastest' is none of "
        "random, round_robin, least_conn, least_time, hash"
    ]


async def test_a_browser_with_the_sticky_cookie_stays(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy, answering(answer()) as one, answering(answer()) as two:
        await proxy.route("a.test", one, two)
        await set_options(proxy, sticky="on")
        first = await proxy.get()
        found = re.search(rb"\r\nset-cookie: (hipache=[0-9a-f]+); Path=/; HttpOnly", first)
        assert found
        again = GET[:-2] + b"Cookie: " + found[1] + b"\r\n\r\n"
        replies = [await proxy.talk(again) for _ in range(10)]
    assert sorted((len(one.requests), len(two.requests))) == [0, 11]
    assert not any(b"set-cookie" in reply.lower() for reply in replies)


class Stuck(httpx.AsyncByteStream):
    """Breaks off, and does not let itself be closed either."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"a"
        raise httpx.ReadError("broken")

    async def aclose(self) -> None:
        self.closing.set()
        await asyncio.Event().wait()


async def test_nothing_stays_in_flight_when_giving_up_is_cut_short(valkey: RedisServer) -> None:
    stream = Stuck()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=stream))
    app = create_app(config_of(valkey), transport=transport)
    async with serving(app) as port:
        proxy = Proxy(port, valkey)
        await proxy.route("a.test", "http://127.0.0.1:9")
        client = await proxy.connect()
        client.send(GET)
        await stream.closing.wait()
        http = app.router.default.http  # type: ignore[attr-defined]
        route = await http._gateway.decisions._routes.find("a.test")
        balancer = http._gateway.attempts._balancer
        client.reset()
        while http._gateway.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert balancer.in_flight(route, route.frontend.backends[0]) == 0


async def test_when_all_are_dead_one_that_lives_is_found_again(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy, answering(answer()) as one, refusing() as two:
        await proxy.route("a.test", one, two)
        async with valkey.client as redis:
            await redis.sadd("dead:a.test", 0, 1)
        assert [(await proxy.get())[9:12] for _ in range(5)] == [b"200"] * 5
