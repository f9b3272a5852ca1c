"""Backends that speak HTTP/2, behind clients of both versions, through the whole proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.server.http2.frames import GET, POST, data, head, speaking
from tests.serving import Proxy, proxying
from tests.upstream.http2.backend import Asked, speaking_http2


@pytest.fixture
async def proxy(valkey: RedisServer, either_way: None) -> AsyncIterator[Proxy]:
    async with proxying(valkey, http2=True, retryOnError=1) as proxy:
        yield proxy


def trailed(asked: Asked) -> None:
    asked.head((b"content-type", b"application/grpc"))
    asked.body_part(asked.body)
    asked.end((b"grpc-status", b"0"))


async def test_trailers_pass_both_ways_between_http2_and_http2(proxy: Proxy) -> None:
    async with speaking_http2() as backend, speaking(proxy.port) as client:
        backend.on_end = trailed
        await proxy.route("a.test", backend.url)
        for number in (1, 3):
            client.send(
                client.headers(number, [*POST, (b"te", b"trailers")]),
                data(number, b"message"),
                client.headers(number, [(b"x-sum", b"1")], "END_STREAM"),
            )
            got = await client.answer(number)
            assert (got.status, got.body) == (200, b"message")
            assert got.trailers == [(b"grpc-status", b"0")]
        request = backend.requests[-1]
        assert (request.trailers, request.get(b"te")) == ([(b"x-sum", b"1")], b"trailers")
        assert request.get(b":authority") == b"a.test"
        assert len(backend.links) == 1


async def test_an_answer_of_trailers_alone_stays_one(proxy: Proxy) -> None:
    async with speaking_http2() as backend, speaking(proxy.port) as client:
        backend.on_end = lambda asked: asked.head((b"grpc-status", b"5"), end=True)
        await proxy.route("a.test", backend.url)
        for number in (1, 3):
            client.request(number, GET)
            got = await client.answer(number)
            assert (got.get(b"grpc-status"), got.body, got.trailers) == (b"5", b"", [])


async def test_trailers_reach_a_client_of_http1(proxy: Proxy) -> None:
    async with speaking_http2() as backend:
        backend.on_end = trailed
        await proxy.route("a.test", backend.url)
        answer = await proxy.talk(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE, close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n")
        assert backend.requests[0].trailers == [(b"x-sum", b"1")]


async def test_a_client_that_leaves_resets_its_stream_alone(proxy: Proxy) -> None:
    async with speaking_http2() as backend, speaking(proxy.port) as client:
        backend.on_end = lambda asked: asked.head()
        await proxy.route("a.test", backend.url)
        client.request(1, GET)
        await backend.until(lambda: backend.requests)
        client.reset(1)
        await backend.until(lambda: backend.requests[0].reset == 8)
        backend.on_end = trailed
        client.request(3, GET)
        assert (await client.answer(3)).status == 200
        assert len(backend.links) == 1


def ends(what: Any, end: bytes) -> bool:
    return what.body.endswith(end)


async def test_messages_go_both_ways_at_once(proxy: Proxy) -> None:
    async with speaking_http2() as backend, speaking(proxy.port) as client:
        backend.on_request = lambda asked: asked.head()
        backend.on_end = lambda asked: asked.end((b"grpc-status", b"0"))
        await proxy.route("a.test", backend.url)
        client.send(client.headers(1, [*POST, (b"te", b"trailers")]))
        await backend.until(lambda: backend.requests)
        [asked] = backend.requests
        for said in (b"one", b"two", b"three"):
            client.send(data(1, said))
            await backend.until(partial(ends, asked, said))
            asked.body_part(said)
            await client.until(partial(ends, client.of(1), said))
        client.send(data(1, end=True))
        assert (await client.answer(1)).trailers == [(b"grpc-status", b"0")]


async def test_a_backend_that_refuses_is_replaced(proxy: Proxy) -> None:
    """Whether it has the whole body by then or not, and though a POST is not idempotent."""
    async with speaking_http2() as bad, speaking_http2() as good, speaking(proxy.port) as client:
        bad.on_request = lambda asked: asked.get(b":path") == b"/early" and asked.reset_by(7)
        bad.on_end = lambda asked: asked.reset_by(7)
        async with proxy.valkey.client as redis:
            await redis.hset("options:a.test", "policy", "round_robin")
        await proxy.route("a.test", bad.url, good.url)
        for number in (1, 3):
            client.request(number, head(b"POST"), b"once")
            got = await client.answer(number)
            assert (got.status, got.body) == (200, b"once")
        for number in (5, 7):
            seen = len(good.requests)
            client.send(client.headers(number, head(b"POST", b"/early")), data(number, b"first, "))
            await good.until(lambda seen=seen: len(good.requests) > seen)
            client.send(data(number, b"last", end=True))
            got = await client.answer(number)
            assert (got.status, got.body) == (200, b"first, last")
        assert {request.get(b":path") for request in bad.requests} == {b"/", b"/early"}


async def test_requests_that_a_backend_refuses_take_it_not_away(valkey: RedisServer) -> None:
    trusting = {"trustedProxies": ["127.0.0.0/8"]}
    async with (
        proxying(valkey, http2=True, **trusting) as proxy,
        speaking_http2() as full,
        speaking_http2() as good,
        speaking(proxy.port) as client,
    ):
        full.on_end = lambda asked: asked.reset_by(7)
        await proxy.route("a.test", full.url, good.url)
        for number in range(60):
            whose = (b"x-forwarded-for", b"192.0.2.%d" % (number % 5))
            path = b"/%d" % (number % 7)
            client.send(client.headers(2 * number + 1, [*head(b"GET", path), whose], "END_STREAM"))
            assert (await client.answer(2 * number + 1)).status == 200
        assert len(full.requests) > 10
        async with valkey.client as redis:
            assert not await redis.exists("dead-info:a.test")


@pytest.mark.parametrize(
    "length", [[], [(b"content-length", b"5")]], ids=["chunked", "of a length"]
)
async def test_requests_that_repeat_their_fields_are_each_sent_whole(
    proxy: Proxy, length: list[tuple[bytes, bytes]]
) -> None:
    fields = [(b"te", b"trailers"), (b"cookie", b"a=b"), *length]
    seen: list[list[tuple[bytes, bytes]]] = []
    ids: set[bytes] = set()
    async with (
        speaking_http2() as second,
        answering(answer(b"hello")) as first,
        speaking(proxy.port) as client,
    ):
        for host, backend in ((b"a.test", first), (b"b.test", second)):
            await proxy.route(host.decode(), backend.url)
            for turn in range(4):
                path = b"/%d" % turn
                stream = 2 * len(seen) + 1
                client.request(stream, [*head(b"POST", path, host), *fields], b"hello")
                assert (await client.answer(stream)).body == b"hello"
                asked = backend.requests[-1]
                assert asked.body == b"hello"
                got = asked.fields if backend is second else asked.headers
                ids.add(dict(got)[b"x-request-id"])
                own = {b"x-request-id", b":path"}
                seen.append(sorted(each for each in got if each[0] not in own))
    assert seen == [seen[0]] * 4 + [seen[4]] * 4
    assert len(ids) == 8
    for got in (seen[0], seen[4]):
        assert [each for each in fields[:2] if each not in got] == []
