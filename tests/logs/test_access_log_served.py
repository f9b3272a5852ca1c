"""What a running proxy writes about the requests it served and those it could not."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from tests.backends import answer, answering, silent
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.serving import Proxy, config_of, proxying, serving

pytestmark = pytest.mark.usefixtures("either_way")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


async def test_a_served_request_is_told_in_full(valkey: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, accessLog=str(path), accessLogFormat="json") as proxy,
    ):
        await proxy.route("a.test", backend)
        await proxy.talk(
            b"POST /x?y HTTP/1.1\r\nHost: A.test\r\nContent-Length: 3\r\nUser-Agent: me\r\n\r\nabc"
        )
    (line,) = read(path)
    told = {
        "client": "127.0.0.1",
        "host": "A.test",
        "method": "POST",
        "target": "/x?y",
        "frontend": "a.test",
        "identifier": "the-site",
        "backend": f"http://127.0.0.1:{backend.port}",
        "attempts": 1,
        "retried_from": [],
        "status": 200,
        "bytes_in": 3,
        "bytes_out": 5,
        "user_agent": "me",
        "error": None,
    }
    assert {key: line[key] for key in told} == told
    assert 0 < line["head_time"] <= line["total_time"]
    assert backend.requests[0].get(b"x-request-id") == line["request_id"].encode()


async def test_what_never_reached_a_backend_is_told_too(
    valkey: RedisServer, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with proxying(valkey, accessLog=str(path), accessLogFormat="json") as proxy:
        await proxy.get(host=b"nobody.test")
        await proxy.route("a.test", f"http://127.0.0.1:{free_port()}")
        await proxy.get()
        await proxy.talk(b"GET / HTTP/1.1\r\nHost: *\r\n\r\n")
    lines = {line["host"]: line for line in read(path)}
    assert {host: line["status"] for host, line in lines.items()} == {
        "nobody.test": 400,
        "a.test": 502,
        "*": 400,
    }
    assert lines["nobody.test"]["error"] == "frontend not found"
    assert lines["a.test"]["error"] == "cannot connect to the backend: Connection refused"


async def test_a_defect_of_ours_is_told_too(valkey: RedisServer, tmp_path: Path) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("boom")

    path = tmp_path / "log"
    config = config_of(valkey, accessLog=str(path), accessLogFormat="json")
    async with serving(create_app(config, transport=httpx.MockTransport(broken))) as port:
        proxy = Proxy(port, valkey)
        await proxy.route("a.test", "http://127.0.0.1:9")
        assert (await proxy.get()).startswith(b"HTTP/1.1 500 ")
    (line,) = read(path)
    assert (line["status"], line["backend"]) == (500, "http://127.0.0.1:9")
    assert line["error"] == "RuntimeError: boom"


async def test_a_body_that_is_refused_is_told_as_its_client_saw_it(
    valkey: RedisServer, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with (
        silent() as backend,
        proxying(valkey, accessLog=str(path), accessLogFormat="json") as proxy,
    ):
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        await backend.until(lambda b: len(b.requests) == 1)
        client.send(b"no chunk\r\n")
        assert (await client.response())[0] == 400
        await backend.until(lambda b: b.open == 0)
    (line,) = read(path)
    assert (line["status"], line["error"]) == (400, "malformed chunk size")


async def test_what_a_stop_cut_short_is_told_too(valkey: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    app = create_app(config_of(valkey, accessLog=str(path), accessLogFormat="json"))
    async with silent() as backend:
        async with serving(app, timeout_graceful_shutdown=0) as port:
            proxy = Proxy(port, valkey)
            await proxy.route("a.test", backend)
            client = await proxy.connect()
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            await backend.until(lambda b: len(b.requests) == 1)
        client.reset()
    (line,) = read(path)
    assert (line["status"], line["error"]) == (503, "the proxy stopped")


async def test_hipaches_format_is_the_default(valkey: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with answering(answer(b"hello")) as backend, proxying(valkey, accessLog=str(path)) as p:
        await p.route("a.test", backend)
        await p.get(b'/"')
    assert ' "GET /\\x22 HTTP/1.1" 200 5 "" "" "the-site" 0' in path.read_text("ascii")


async def test_no_line_is_lost_or_doubled_under_load(valkey: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, accessLog=str(path), accessLogFormat="{target} {status}") as proxy,
    ):
        await proxy.route("a.test", backend)
        await asyncio.gather(*(client(proxy, name) for name in range(10)))
    wanted = [f"/{name}/{number} 200" for name in range(10) for number in range(50)]
    assert sorted(path.read_text("ascii").splitlines()) == sorted(wanted)


async def client(proxy: Proxy, name: int) -> None:
    for number in range(50):
        await proxy.get(b"/%d/%d" % (name, number))


@pytest.mark.parametrize(
    ("request_bytes", "told"),
    [
        (b"GARBAGE\r\n\r\n", (None, None, 400, "malformed request line")),
        (b"GET /a HTTP/1.1\r\n\r\n", ("GET", None, 400, "no host header")),
        (
            b"GET /a HTTP/1.1\r\nHost: a.test\r\nX: %b\r\n\r\n" % (b"x" * 70_000),
            ("GET", "a.test", 431, "the request's head is too large"),
        ),
        (
            b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
            ("POST", "a.test", 400, "malformed chunk size"),
        ),
        (
            b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: x\r\n\r\n",
            ("GET", "a.test", 426, "WebSocket version 13 only"),
        ),
        (
            b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n",
            ("GET", "a.test", 400, "missing Sec-WebSocket-Key header"),
        ),
    ],
)
async def test_what_is_no_request_is_told_too(
    valkey: RedisServer, tmp_path: Path, request_bytes: bytes, told: tuple[object, ...]
) -> None:
    path = tmp_path / "log"
    async with proxying(valkey, accessLog=str(path), accessLogFormat="json") as proxy:
        reply = await proxy.talk(request_bytes)
    assert reply.startswith(b"HTTP/1.1 %d " % told[2])
    (line,) = read(path)
    assert (line["method"], line["host"], line["status"], line["error"]) == told
    assert line["client"] == "127.0.0.1"
    assert line["bytes_out"] == len(reply.partition(b"\r\n\r\n")[2])


async def test_a_head_that_does_not_come_is_told_too(valkey: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    server = {"accessLog": str(path), "accessLogFormat": "{request} {status}", "headerTimeout": 0.1}
    async with proxying(valkey, **server) as proxy:
        client = await proxy.connect()
        client.send(b"GET /slow HTTP/1.1\r\nHost: a")
        await client.rest()
    assert path.read_text() == "GET /slow HTTP/1.1 408\n"


@pytest.mark.parametrize("served", [True, False])
async def test_an_answer_tells_the_requests_id_if_asked_to(
    valkey: RedisServer, tmp_path: Path, served: bool
) -> None:
    path = tmp_path / "log"
    server = {"accessLog": str(path), "accessLogFormat": "{request_id}"}
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Trace: the-backends\r\n\r\nok"
    async with (
        answering(reply) as backend,
        proxying(valkey, requestIdHeader="X-Trace", **server) as proxy,
    ):
        if served:
            await proxy.route("a.test", backend)
        answered = await proxy.get()
    told = [line for line in answered.lower().split(b"\r\n") if line.startswith(b"x-trace:")]
    assert told == [f"x-trace: {path.read_text('ascii').strip()}".encode()]


async def test_a_trace_passes_untouched(valkey: RedisServer) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with answering(answer(b"hello")) as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", backend)
        fields = b"Host: a.test\r\ntraceparent: %b\r\nTracestate: a=1,b=2\r\n" % trace
        await proxy.talk(b"GET / HTTP/1.1\r\n%b\r\n" % fields)
    assert backend.requests[0].get(b"traceparent") == trace
    assert backend.requests[0].get(b"tracestate") == b"a=1,b=2"


async def test_a_redirect_tells_the_requests_id_as_well(valkey: RedisServer) -> None:
    async with proxying(valkey, requestIdHeader="X-Request-Id") as proxy:
        await proxy.route("a.test", "http://127.0.0.1:9")
        async with valkey.client as client:
            await client.hset("options:a.test", "redirect", "on")
        answered = await proxy.get()
    assert answered.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nx-request-id: " in answered.lower()
