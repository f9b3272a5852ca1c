"""Requests by path, from the client's bytes to the backend's."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.frontends.passwords import make_hash
from tests.backends import Received, ScriptedBackend, answer, answering
from tests.proxy.ways import two_ways
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")

SWITCH = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HASH = make_hash(b"open sesame", b"0123456789abcdef", ln=1)


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey, trustedProxies=["127.0.0.2/32"]) as proxy:
        yield proxy


async def route(proxy: Proxy, key: str, *backends: ScriptedBackend, **options: str) -> None:
    host, slash, rest = key.partition("/")
    await proxy.route(key, *backends)
    async with proxy.valkey.client as redis:
        await redis.sadd(f"paths:{host}", slash + rest)
        if options:
            await redis.hset(f"options:{key}", mapping=options)


def prefixes(request: Received) -> list[bytes]:
    return [value for name, value in request.headers if name.lower() == b"x-forwarded-prefix"]


async def status(proxy: Proxy, target: bytes) -> bytes:
    return (await proxy.get(target))[9:12]


async def test_each_path_goes_to_its_backend_as_it_came(proxy: Proxy) -> None:
    async with answering(answer()) as own, answering(answer()) as api:
        await proxy.route("a.test", own)
        await route(proxy, "a.test/api", api)
        for target in (b"/", b"/apix", b"/api", b"/api/a%2Fb//..?q=/api", b"//api"):
            for _ in range(2):  # from the store, and from memory
                assert await status(proxy, target) == b"200"
    assert [r.line[1] for r in own.requests] == [b"/", b"/", b"/apix", b"/apix", b"//api", b"//api"]
    asked = [b"/api", b"/api", b"/api/a%2Fb//..?q=/api", b"/api/a%2Fb//..?q=/api"]
    assert [r.line[1] for r in api.requests] == asked
    assert api.requests[0].get(b"x-forwarded-prefix") is None


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (b"/s", b"/"),
        (b"/s/", b"/"),
        (b"/s?q", b"/?q"),
        (b"/s/x/y?q=/s", b"/x/y?q=/s"),
        (b"/s//x", b"//x"),
        (b"/s/a%2Fb", b"/a%2Fb"),
        (b"/s/../x", b"/../x"),
    ],
)
@pytest.mark.parametrize("web_socket", [False, True])
async def test_a_prefix_may_end_here(
    proxy: Proxy, target: bytes, asked: bytes, web_socket: bool
) -> None:
    async with answering(answer()) as backend:
        await route(proxy, "a.test/s", backend, strip="on")
        fields = b"X-Forwarded-Prefix: /evil\r\n" + SWITCH * web_socket
        for _ in range(2):
            client = await proxy.connect()
            client.send(b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (target, fields))
            assert (await client.response())[0] == 200
    assert [request.line[1] for request in backend.requests] == [asked, asked]
    assert list(map(prefixes, backend.requests)) == [[b"/s"]] * 2


async def test_a_body_and_its_retry_go_to_the_same_path(proxy: Proxy) -> None:
    async with answering(answer()) as backend:
        await route(proxy, "a.test/s", backend, strip="on")
        await proxy.talk(b"PUT /s/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
    assert backend.requests[0].line == (b"PUT", b"/x")


async def test_a_trusted_proxy_has_taken_off_a_prefix_before(valkey: RedisServer) -> None:
    async with (
        proxying(valkey, trustedProxies=["127.0.0.1/32"]) as proxy,
        answering(answer()) as backend,
    ):
        await route(proxy, "a.test/s", backend, strip="on")
        await proxy.talk(b"GET /s HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Prefix: /hub/\r\n\r\n")
    assert prefixes(backend.requests[0]) == [b"/hub/s"]


async def test_a_path_that_nothing_takes_is_answered_as_an_unknown_site(proxy: Proxy) -> None:
    async with answering(answer()) as backend:
        await route(proxy, "a.test/api", backend)
        await proxy.route("*", backend)
        for _ in range(2):
            reply = await proxy.get(b"/")
            assert reply[9:12] == b"400"
            assert b"no frontend for this path: a.test" in reply
            assert await status(proxy, b"/api") == b"200"


async def test_debug_fields_name_the_prefix(valkey: RedisServer) -> None:
    async with (
        proxying(valkey) as proxy,
        answering(answer()) as backend,
    ):
        await route(proxy, "*.test/api", backend)
        request = b"GET /api/x HTTP/1.1\r\nHost: a.test\r\nX-Debug: yes\r\n\r\n"
        reply = await proxy.talk(request)
    assert b"x-debug-frontend-key: a.test/api\r\n" in reply


async def test_who_protects_a_host_has_protected_what_is_below(proxy: Proxy) -> None:
    async with answering(answer()) as backend:
        await route(proxy, "a.test/api", backend, strip="on")
        await route(proxy, "a.test/open", backend, allow="0.0.0.0/0")
        async with proxy.valkey.client as redis:
            await redis.hset("options:a.test", mapping={"allow": "192.0.2.1", "redirect": "off"})
        assert await status(proxy, b"/api") == b"403"
        assert await status(proxy, b"/open") == b"200"
        async with proxy.valkey.client as redis:
            await redis.hset("options:a.test", "redirect", "on")
        reply = await proxy.get(b"/api/x?y")
    assert b"location: https://a.test/api/x?y\r\n" in reply.lower()


async def test_a_password_is_asked_for_before_the_prefix_goes(proxy: Proxy) -> None:
    password = b64encode(b"a:open sesame")
    request = b"GET /s/x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic %b\r\n\r\n"
    request %= password
    async with answering(answer()) as backend:
        await route(proxy, "a.test/s", backend, strip="on", basicAuth=f"a:{HASH}")
        assert (await proxy.get(b"/s/x"))[9:12] == b"401"
        for _ in range(2):  # the first time a thread computes, and the request waits
            assert (await proxy.talk(request))[9:12] == b"200"
    assert [request.line[1] for request in backend.requests] == [b"/x", b"/x"]


async def test_the_cookies_of_a_host_and_its_prefix_live_side_by_side(proxy: Proxy) -> None:
    async with answering(answer()) as own, answering(answer()) as api:
        await proxy.route("a.test", own)
        await route(proxy, "a.test/api", api)
        async with proxy.valkey.client as redis:
            await redis.hset("options:a.test", "sticky", "on")
        first, second = await proxy.get(b"/"), await proxy.get(b"/api/x")
    assert re.search(rb"set-cookie: hipache=\w+; Path=/;", first)
    assert re.search(rb"set-cookie: hipache=\w+; Path=/api;", second)


async def test_the_log_and_explain_name_the_prefix(valkey: RedisServer, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"driver": valkey.url, "admin": {"bind": None}}))
    async with two_ways(valkey, tmp_path) as ways, answering(answer()) as backend:
        await route(ways[0].proxy, "a.test/s", backend, strip="on", policy="hash")
        for way in ways:
            assert await status(way.proxy, b"/s/x") == b"200"
            await way.settled()
        words = ["explain", "http://a.test/s/x", "--config", str(config)]
        run = partial(CliRunner().invoke, main)
        told = (await asyncio.to_thread(run, words)).output
        found = json.loads((await asyncio.to_thread(run, [*words, "--json"])).output)
        other = (await asyncio.to_thread(run, ["explain", "a.test/t", *words[2:]])).output
    for way in ways:
        [line] = way.lines()
        assert (line["frontend"], line["target"]) == ("a.test/s", "/s/x")
    assert "matched   frontend:a.test/s  the-site\n" in told
    assert "prefix    /s, which the backend does not see\n" in told
    assert (found["matched"], found["prefix"], found["strips"]) == ("a.test/s", "/s", True)
    assert "answer    400 no frontend for this path\n" in other
