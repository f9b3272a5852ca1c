"""OpenTelemetry's spans, as a collector gets them and as backends are told of them."""

from __future__ import annotations

import doctest
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

from app.config.structs import parse
from app.errors import ConfigError
from app.proxy import tracing
from app.proxy import tracing_spans as traced
from app.proxy.tracing import check_tracing
from tests import processes
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
from tests.collector import Collector, Told, collecting
from tests.proxy.test_fast_path import ANSWERS, seen, two_ways
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
THEIRS = f"00-{TRACE}-{SPAN}-01".encode()
LOOPBACK = ["127.0.0.0/8"]

both_ways = pytest.mark.usefixtures("either_way")


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting(monkeypatch) as collector:
        yield collector


async def ask(proxy: Proxy, *fields: bytes, line: bytes = b"GET /") -> bytes:
    """One request to a.test, and its answer."""
    head = b"\r\n".join([line + b" HTTP/1.1", b"Host: a.test", *fields, b"", b""])
    return await proxy.talk(head)


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


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "LAST_BATCH", 0.1)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    async with refusing() as away, answering(answer(b"hello")) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", away)
        async with proxying(valkey, tracing=True) as proxy:
            await proxy.route("a.test", backend)
            for _ in range(20):
                assert b" 200 " in await ask(proxy)
    assert "Connection refused" in caplog.text


async def test_a_worker_does_not_wait_for_a_collector_that_is_silent(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "LAST_BATCH", 0.1)
    async with silent() as collector, answering(answer(b"hello")) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with proxying(valkey, tracing=True) as proxy:
            await proxy.route("a.test", backend)
            assert b" 200 " in await ask(proxy)
        assert "spans lost" in caplog.text
        assert len(collector.requests) == 1


async def test_spans_that_wait_are_sent_at_a_workers_end(
    valkey: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `hipache serve`: the thread that sends them begins in the worker, after the fork."""
    async with (
        collecting(monkeypatch, delay=600_000, OTEL_SERVICE_NAME="edge") as collector,
        answering(answer(b"hello")) as backend,
        processes.serve(tmp_path, valkey.url, workers=2, tracing=True) as service,
    ):
        async with valkey.client as redis:
            await redis.rpush("frontend:a.test", "id", backend.url)
        for _ in range(10):
            assert b" 200 " in await service.ask()
        assert collector.spans == []
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
        spans = await collector.took(20)
    assert {span.kind for span in spans} == {"SERVER", "CLIENT"}
    assert {each["service.name"] for each in collector.resources} == {"edge"}


@pytest.mark.parametrize(
    "command", ["app.cli serve", "app.cli check", "uvicorn app:create_app --factory"]
)
def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, command: str) -> None:
    """OpenTelemetry's API alone is what other packages bring along."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").touch()
    processes.write_config(tmp_path, "redis:", tracing=True)
    done = run(tmp_path, "-m", *command.split())
    assert (done.returncode, done.stdout) == (78, "")
    remedy = "server.tracing: OpenTelemetry is missing: pip install 'hipache[otel]'"
    assert done.stderr == f"hipache: config.json: {remedy}\n"
    (finding,) = json.loads(run(tmp_path, "-m", "app.cli", "doctor", "--json").stdout)["findings"]
    assert (finding["name"], finding["problem"]) == ("bad-configuration", remedy)


def test_without_tracing_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """Other parts of OpenTelemetry may be: redis-py takes what it finds."""
    code = "import app.cli, sys; print(*sys.modules)"
    loaded = set(run(tmp_path, "-c", code).stdout.split())
    assert "app.proxy.tracing" in loaded
    assert not loaded & {
        "app.proxy.tracing_spans",
        "opentelemetry.sdk.trace",
        "opentelemetry.exporter",
    }


def test_a_variable_that_can_not_be_used_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(ConfigError, match="max_queue_size must be a positive integer"):
        check_tracing(parse('{"server": {"tracing": true}}'))
    check_tracing(parse("{}"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python on this checkout; what is in `folder` comes before what is installed."""
    path = os.pathsep.join([str(folder), str(processes.ROOT)])
    environ = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, check=False,
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip


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
