"""The failure matrix (hipache.md 1.4, with its fixes), and what a client sees of each failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.backends import answer, answering, resetting, silent, truncating
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey, retryOnError=0) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"no host header"),
        (b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", b"frontend not found"),
        (b"GET / HTTP/1.1\r\nHost: *\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: *.test\r\n\r\n", b""),
    ],
)
async def test_a_request_that_names_no_frontend_gets_400(
    proxy: Proxy, head: bytes, message: bytes
) -> None:
    reply = await proxy.talk(head)
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert message in reply


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], b"Cannot find a valid backend"),
        (["http://"], b"backend is invalid"),
        (["ftp://x", "not a url"], b"backend is invalid"),
    ],
)
async def test_a_list_without_a_usable_backend_gets_502(
    proxy: Proxy, rows: list[str], message: bytes
) -> None:
    await proxy.route("a.test", *rows)
    reply = await proxy.get()
    assert reply.startswith(b"HTTP/1.1 502 ")
    assert message in reply


async def test_a_value_of_the_wrong_type_gets_502_and_a_log_line_for_it_and_the_request(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxy.valkey.client as client:
        await client.set("frontend:a.test", "a string, not a list")
    reply = await proxy.get()
    assert reply.startswith(b"HTTP/1.1 502 ")
    told = [r for r in caplog.records if "a.test" in r.getMessage()]
    events = ["backend unusable", "request failed"]
    assert [r.getMessage().partition(" frontend=")[0].split(" status=")[0] for r in told] == events
    assert all(r.exc_info is None for r in told)


async def test_a_refused_connection_gets_502(proxy: Proxy) -> None:
    await proxy.route("a.test", f"http://127.0.0.1:{free_port()}")
    assert (await proxy.get()).startswith(b"HTTP/1.1 502 ")


async def test_a_reset_before_the_head_gets_502(proxy: Proxy) -> None:
    async with resetting() as backend:
        await proxy.route("a.test", backend)
        assert (await proxy.get()).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_answer_gets_502_and_is_not_passed_on(
    proxy: Proxy, raw: bytes
) -> None:
    async with truncating(raw) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get()
    assert reply.startswith(b"HTTP/1.1 502 ")
    assert b"nonsense" not in reply


async def test_a_backend_that_does_not_answer_gets_504(valkey: RedisServer) -> None:
    async with proxying(valkey, responseTimeout=0.05) as proxy, silent() as backend:
        await proxy.route("a.test", backend)
        assert (await proxy.get()).startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize("host", [b"__ping__", b"__ready__"])
async def test_the_proxy_tells_its_own_state(proxy: Proxy, host: bytes) -> None:
    reply = await proxy.get(b"/anything", host)
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert reply.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
    ],
)
async def test_an_answer_cut_upstream_is_cut_downstream(proxy: Proxy, start: bytes) -> None:
    async with truncating(start) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        assert b" 200 " in head
        try:
            rest = await client.rest()
        except ConnectionResetError:
            rest = b""
    assert not rest.endswith(b"0\r\n\r\n")
    assert b"<html" not in rest  # Hipache appended its page to the half answer


async def test_a_cut_that_only_the_close_would_end_resets_a_1_0_client(proxy: Proxy) -> None:
    async with truncating(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    ) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()
        client.send(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_an_error_says_its_request_id_on_the_page(proxy: Proxy) -> None:
    reply = await proxy.talk(b"GET / HTTP/1.1\r\nHost: x.test\r\nAccept: application/json\r\n\r\n")
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert len(json.loads(body)["request_id"]) == 26


async def test_an_error_answer_to_head_has_no_body(proxy: Proxy) -> None:
    reply = await proxy.talk(b"HEAD / HTTP/1.1\r\nHost: x.test\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert reply.endswith(b"\r\n\r\n")


async def test_a_store_that_is_away_gets_503_and_comes_back_by_itself(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with proxying(server, storeTimeout=0.2) as proxy, answering(answer(b"back")) as backend:
        reply = await proxy.get()
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in reply.lower()
        assert (await proxy.get(host=b"__ready__")).startswith(b"HTTP/1.1 503 ")
        assert (await proxy.get(host=b"__ping__")).startswith(b"HTTP/1.1 200 ")
        await server.start()
        try:
            await proxy.route("a.test", backend)
            async with asyncio.timeout(10):
                while b" 200 " not in await proxy.get():
                    pass
        finally:
            server.kill()
