"""The spans of attempts: one for each, and what a failure leaves in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.backends import (
    Conversation,
    ScriptedBackend,
    answer,
    answering,
    refusing,
    scripted,
    silent,
    truncating,
)
from tests.collector import Collector, Told
from tests.proxy.traces import ask, both_ways
from tests.proxy.ways import ANSWERS, seen, two_ways
from tests.redis_servers import RedisServer
from tests.serving import proxying


@both_ways
async def test_each_attempt_is_a_span_of_its_own(valkey: RedisServer, collector: Collector) -> None:
    async with (
        refusing() as refused,
        answering(answer(b"hello")) as good,
        proxying(valkey, tracing=True) as proxy,
    ):
        async with valkey.client as redis:
            await redis.hset("options:a.test", "policy", "round_robin")
        await proxy.route("a.test", refused, good)
        for _ in range(2):  # one of them begins at the first backend
            assert b" 200 " in await ask(proxy)
        spans = await collector.took(5)
    (failure,) = [span for span in spans if span.failed]
    (resent,) = [span for span in spans if "http.request.resend_count" in span.values]
    assert (failure.kind, resent.kind, resent.parent) == ("CLIENT", "CLIENT", failure.parent)
    assert failure.values["error.type"] == "connection refused"
    assert failure.description == "cannot connect to the backend: Connection refused"
    assert "http.response.status_code" not in failure.values
    assert resent.values["http.request.resend_count"] == 1
    assert resent.values["url.full"] == f"{good.url}/"
    parents = [(request.get(b"traceparent") or b"")[:-1] for request in good.requests]
    answered = [s for s in spans if s.kind == "CLIENT" and not s.failed]
    assert parents == [span.traceparent for span in answered]


@both_ways
async def test_a_lost_kept_connection_is_an_attempt_too(
    valkey: RedisServer, collector: Collector
) -> None:
    """The way below ASGI has sent the first request, a task sends the second."""
    async with two_connections() as backend, proxying(valkey, tracing=True) as proxy:
        await proxy.route("a.test", backend)
        for _ in range(2):
            assert b" 200 " in await ask(proxy)
        spans = await collector.took(5)
    (lost,) = [span for span in spans if span.failed]
    assert lost.values["error.type"] == "kept connection was closed"
    clients = [span.traceparent for span in spans if span.kind == "CLIENT"]
    assert [(r.get(b"traceparent") or b"")[:-1] for r in backend.requests] == clients


@both_ways
async def test_failures_are_told(valkey: RedisServer, collector: Collector) -> None:
    async with (
        refusing() as refused,
        answering(answer(b"x", status=b"503 Later")) as busy,
        answering(answer(b"x", status=b"404 No")) as empty,
        truncating(answer(b"xxx")[:-1]) as cut,
        proxying(valkey, tracing=True, retryOnError=0) as proxy,
    ):
        for host, backend in {"a.test": refused, "b.test": busy, "c.test": empty}.items():
            await proxy.route(host, backend)
        await proxy.route("d.test", cut)
        for host in (b"a.test", b"b.test", b"c.test", b"d.test", b"nobody.test"):
            await proxy.get(host=host)
        spans = await collector.took(9)
    told = {
        (span.kind, span.values.get("server.address")): (
            span.failed,
            span.values.get("http.response.status_code"),
            span.values.get("error.type"),
            span.description,
        )
        for span in spans
        if span.kind == "SERVER" or span.failed
    }
    clients = [span for span in spans if span.kind == "CLIENT"]
    no_connection = "cannot connect to the backend: Connection refused"
    cut_short = "the backend's answer was cut short"
    servers = {host: said for (kind, host), said in told.items() if kind == "SERVER"}
    assert servers == {
        "a.test": (True, 502, "502", no_connection),
        "b.test": (True, 503, "503", ""),
        "c.test": (False, 404, None, ""),
        "d.test": (True, 200, "reset inside the body", cut_short),
        "nobody.test": (False, 400, None, ""),
    }
    assert [(c.failed, c.values["error.type"], c.description) for c in clients] == [
        (True, "connection refused", no_connection),
        (True, "503", ""),
        (True, "404", ""),
        (True, "reset inside the body", cut_short),
    ]


@both_ways
async def test_a_client_that_leaves_is_nobodys_failure(
    valkey: RedisServer, collector: Collector
) -> None:
    async with silent() as backend, proxying(valkey, tracing=True) as proxy:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"FOO / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await backend.until(lambda b: len(b.requests) == 1)
        client.reset()
        server, attempt = await collector.took_one()
    assert (server.failed, server.values["error.type"]) == (False, "client left")
    assert (attempt.failed, attempt.values["error.type"]) == (False, "cancelled")
    assert "http.response.status_code" not in server.values
    assert (server.name, server.values["http.request.method"]) == ("HTTP", "_OTHER")
    assert server.values["http.request.method_original"] == "FOO"


async def test_both_ways_tell_the_same(
    valkey: RedisServer, tmp_path: Path, collector: Collector
) -> None:
    """And the way below ASGI stays the way of ordinary requests."""
    cases = ("whole", "500", "chunk by chunk", "none to GET", "cut chunks")
    async with two_ways(valkey, tmp_path, tracing=True) as ways:
        for way in ways:
            for case in cases:
                await seen(way, *ANSWERS[case])
        assert ways[0].tasks == [False] * len(cases)
    below, through = [
        [comparable(span) for span in within(collector.spans, way.name)] for way in ways
    ]
    assert below == through
    assert len(below) == 4 * len(cases) + 1


def within(spans: list[Told], name: str) -> list[Told]:
    """Those of requests to hosts that begin with `name`."""
    hosts = {span.trace: str(span.values["server.address"]) for span in spans if not span.parent}
    return [span for span in spans if hosts[span.trace].startswith(name)]


def comparable(span: Told) -> dict[str, object]:
    """What does not differ from run to run."""
    values = {
        name: value
        for name, value in span.values.items()
        if name not in ("hipache.request_id", "server.port", "url.full", "server.address")
    }
    frontend = values.pop("hipache.frontend", "")
    return {
        "kind": span.kind, "name": span.name, "values": values, "failed": span.failed,
        "description": span.description, "served": bool(frontend), "root": not span.parent,
    }  # fmt: skip


@asynccontextmanager
async def two_connections() -> AsyncIterator[ScriptedBackend]:
    """Answers once on a connection, and closes it when a second request has come."""

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"hello"))
        await conversation.receive()
        if conversation.number:
            await conversation.send(answer(b"hello"))

    async with scripted(script) as backend:
        yield backend
