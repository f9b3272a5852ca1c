"""A request's span, and the trace that the client, the proxy and the backend share."""

from __future__ import annotations

import doctest
import os
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

from app.proxy import tracing_spans as traced
from tests.backends import answer, answering
from tests.collector import Collector, collecting
from tests.proxy.traces import LOOPBACK, SPAN, THEIRS, TRACE, ask, both_ways
from tests.redis_servers import RedisServer
from tests.serving import proxying


def test_the_examples_hold() -> None:
    assert doctest.testmod(traced).failed == 0


@both_ways
async def test_a_request_is_a_span_and_so_is_its_attempt(
    valkey: RedisServer, collector: Collector
) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey, tracing=True) as proxy:
        await proxy.route("a.test", backend)
        head = b"GET /a/b?x=1&sig=secret HTTP/1.1\r\nHost: A.test:81\r\nUser-Agent: me\r\n\r\n"
        assert b" 200 " in await proxy.talk(head)
        server, client = await collector.took_one()
    request_id = server.values.pop("hipache.request_id")
    assert backend.requests[0].get(b"x-request-id") == request_id.encode()
    assert (server.name, server.parent, server.failed, server.links) == ("GET", "", False, [])
    assert server.values == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/a/b",
        "url.query": "x=1&sig=REDACTED",
        "server.address": "A.test",
        "server.port": 81,
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "me",
        "http.response.status_code": 200,
        "hipache.frontend": "a.test",
    }
    assert (client.name, client.parent, client.trace) == ("GET", server.id, server.trace)
    assert client.values == {
        "http.request.method": "GET",
        "url.full": f"{backend.url}/a/b?x=1&sig=REDACTED",
        "server.address": "127.0.0.1",
        "server.port": backend.port,
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
    }
    assert 0 < client.seconds <= server.seconds
    assert (backend.requests[0].get(b"traceparent") or b"").startswith(client.traceparent)
    (who,) = collector.resources
    assert who["service.name"] == "hipache"
    assert who["service.instance.id"] == f"{socket.gethostname()}:{os.getpid()}"


@both_ways
async def test_a_trusted_proxys_trace_goes_on(valkey: RedisServer, collector: Collector) -> None:
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, tracing=True, trustedProxies=LOOPBACK) as proxy,
    ):
        await proxy.route("a.test", backend)
        await ask(
            proxy, b"traceparent: " + THEIRS, b"tracestate: a=1", b"tracestate: b=2", b"baggage: c"
        )
        server, client = await collector.took_one()
    assert (server.trace, server.parent, server.links) == (TRACE, SPAN, [])
    (request,) = backend.requests
    parents = [value for name, value in request.headers if name.lower() == b"traceparent"]
    assert [parent[:-1] for parent in parents] == [client.traceparent]
    assert request.get(b"tracestate") == b"a=1,b=2"
    assert request.get(b"baggage") == b"c"


@both_ways
async def test_a_strangers_trace_is_only_linked_to(
    valkey: RedisServer, collector: Collector
) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey, tracing=True) as proxy:
        await proxy.route("a.test", backend)
        await ask(proxy, b"traceparent: " + THEIRS, b"tracestate: a=1")
        server, client = await collector.took_one()
    assert (server.parent, server.links) == ("", [f"{TRACE}-{SPAN}"])
    assert server.trace != TRACE
    (request,) = backend.requests
    assert (request.get(b"traceparent") or b"").startswith(client.traceparent)
    assert request.get(b"tracestate") is None


@both_ways
async def test_what_is_not_recorded_passes_untouched(
    valkey: RedisServer, collector: Collector
) -> None:
    fields = [b"TraceParent: " + THEIRS[:-1] + b"0", b"traceState: a=1 , b=2"]
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, tracing=True, trustedProxies=LOOPBACK) as proxy,
    ):
        await proxy.route("a.test", backend)
        await ask(proxy, *fields)
        await ask(proxy, b"traceparent: " + THEIRS)
        await collector.took_one()
    first, second = (request.get(b"traceparent") for request in backend.requests)
    assert first == THEIRS[:-1] + b"0"
    assert backend.requests[0].get(b"tracestate") == b"a=1 , b=2"
    assert second != THEIRS


@both_ways
async def test_a_trace_that_begins_here_tells_backends_that_nobody_records_it(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        collecting(monkeypatch, OTEL_TRACES_SAMPLER="always_off") as collector,
        answering(answer(b"hello")) as backend,
    ):
        async with proxying(valkey, tracing=True) as proxy:
            await proxy.route("a.test", backend)
            await ask(proxy)
            await ask(proxy, b"traceparent: " + THEIRS)  # a stranger's wish counts for nothing
        assert collector.spans == []
    for request in backend.requests:
        version, trace, _, flags = (request.get(b"traceparent") or b"").split(b"-")
        assert (version, int(flags, 16) & 1) == (b"00", 0)
        assert trace != TRACE.encode()


@both_ways
async def test_opentelemetrys_own_switch_leaves_everything_untouched(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with answering(answer(b"hello")) as backend, proxying(valkey, tracing=True) as proxy:
        await proxy.route("a.test", backend)
        await ask(proxy, b"traceparent: " + THEIRS)
        await ask(proxy)
    assert [request.get(b"traceparent") for request in backend.requests] == [THEIRS, None]


@pytest.mark.parametrize(
    "parents",
    [
        [b"nonsense"],
        [b"00-" + b"0" * 32 + THEIRS[35:]],
        [b"ff" + THEIRS[2:]],
        [THEIRS, THEIRS],
    ],
    ids=["nonsense", "no trace", "version ff", "two of them"],
)
async def test_fields_that_break_the_rules_begin_a_new_trace(
    valkey: RedisServer, collector: Collector, parents: list[bytes]
) -> None:
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, tracing=True, trustedProxies=LOOPBACK) as proxy,
    ):
        await proxy.route("a.test", backend)
        await ask(proxy, *[b"traceparent: " + parent for parent in parents], b"tracestate: a=1")
        server, client = await collector.took_one()
    assert (server.parent, server.links) == ("", [])
    (request,) = backend.requests
    sent = [value[:-1] for name, value in request.headers if name.lower() == b"traceparent"]
    assert sent == [client.traceparent]
    assert request.get(b"tracestate") is None


@pytest.mark.parametrize("relay", [False, True], ids=["tunnel", "relay"])
async def test_a_websocket_is_a_span_as_long_as_it_lives(
    valkey: RedisServer, collector: Collector, relay: bool
) -> None:
    parents: list[str] = []

    async def echo(connection: ServerConnection) -> None:
        assert connection.request is not None
        parents.append(connection.request.headers["traceparent"])
        async for message in connection:
            await connection.send(message)

    async with (
        serve_websockets(echo, "127.0.0.1", 0) as backend,
        proxying(valkey, tracing=True, webSocketRelay=relay) as proxy,
    ):
        port = next(iter(backend.sockets)).getsockname()[1]
        await proxy.route("a.test", f"http://127.0.0.1:{port}")
        async with connect("ws://a.test/chat", host="127.0.0.1", port=proxy.port) as session:
            await session.send("hello")
            assert await session.recv() == "hello"
            assert collector.spans == []
        server, client = await collector.took_one()
    assert (server.name, server.failed, client.failed) == ("GET", False, False)
    for span in (server, client):
        assert span.values["http.response.status_code"] == 101
    assert parents[0].encode()[:-1] == client.traceparent
    assert client.parent == server.id


async def test_who_is_asked_for_permission_sees_the_request_as_its_parent(
    valkey: RedisServer, collector: Collector
) -> None:
    async with (
        answering(answer(b"")) as sso,
        answering(answer(b"hello")) as backend,
        proxying(valkey, tracing=True) as proxy,
    ):
        async with valkey.client as redis:
            await redis.hset("options:a.test", "forwardAuth", f"{sso.url}/")
        await proxy.route("a.test", backend)
        await ask(proxy, b"traceparent: " + THEIRS)
        server, client = await collector.took_one()
    asked, passed_on = sso.requests[0], backend.requests[0]
    assert (asked.get(b"traceparent") or b"").startswith(server.traceparent)
    assert (passed_on.get(b"traceparent") or b"").startswith(client.traceparent)
