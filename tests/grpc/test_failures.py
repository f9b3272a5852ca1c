"""Where a call cannot be served, or breaks off, its client reads gRPC's own status."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.grpc.calls import calling
from tests.redis_servers import RedisServer, free_port
from tests.serving import Proxy, proxying
from tests.upstream.http2.backend import Asked, speaking_http2

FAILURES = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND
GRPC = (b"content-type", b"application/grpc")
CALL = b"POST /t.Service/Unary HTTP/1.1\r\nHost: %b\r\nContent-Type: %b\r\nContent-Length: 0\r\n"


async def failure(port: int, message: bytes, host: str) -> grpc.aio.AioRpcError:
    """How a unary call fails."""
    async with calling(port, host) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.Service/Unary")(message)
    return caught.value


async def test_what_the_proxy_answers_itself(valkey: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = {"accessLog": str(path), "accessLogFormat": "json"}
    async with (
        speaking_http2() as slow,
        proxying(valkey, http2=True, responseTimeout=0.2, maxBody=1000, **log) as proxy,
    ):
        slow.on_end = lambda asked: None
        await proxy.route("dead.test", f"h2c://127.0.0.1:{free_port()}")
        for host in ("slow.test", "shut.test", "moved.test"):
            await proxy.route(host, slow.url)
        async with valkey.client as redis:
            await redis.hset("options:shut.test", "allow", "192.0.2.1")
            await redis.hset("options:moved.test", "redirect", "on")
        for host, code, message in (
            ("none.test", "UNIMPLEMENTED", "frontend not found: none.test"),
            ("dead.test", "UNAVAILABLE", "cannot connect to the backend"),
            ("slow.test", "DEADLINE_EXCEEDED", "the backend did not answer in time"),
            ("shut.test", "PERMISSION_DENIED", "access from this address is not allowed"),
            ("moved.test", "UNKNOWN", "this is at https://moved.test/t.Service/Unary"),
        ):
            error = await failure(proxy.port, b"hi", host)
            assert error.code() is grpc.StatusCode[code], error
            assert str(error.details()).startswith(f"{message} (request id: ")
        error = await failure(proxy.port, bytes(2000), "slow.test")
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["grpc_status"] for line in lines] == [12, 14, 4, 7, 2, None]
    assert [line["status"] for line in lines] == [400, 502, 504, 403, 308, 413]


@pytest.mark.parametrize(
    "kind",
    [b"application/grpc", b"application/grpc-web+proto", b"application/grpc-web-text+proto"],
)
async def test_a_client_of_http1_reads_the_status_in_the_head(proxy: Proxy, kind: bytes) -> None:
    reply = await proxy.talk(CALL % (b"none.test", kind) + b"\r\n")
    assert reply.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: 0\r\n" % kind)
    assert b"\r\ngrpc-status: 12\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")


async def test_a_page_for_everybody_else(proxy: Proxy) -> None:
    reply = await proxy.talk(CALL % (b"none.test", b"application/json") + b"\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"grpc" not in reply


def begin(asked: Asked) -> None:
    asked.head(GRPC)
    asked.body_part(b"\0\0\0\0\5first\0\0\0\0\5se")


async def test_a_stream_that_the_backend_resets(proxy: Proxy) -> None:
    async with speaking_http2() as backend, calling(proxy.port) as channel:
        backend.on_end = begin
        await proxy.route("a.test", backend.url)
        for reset, code in (
            (8, "CANCELLED"), (2, "INTERNAL"), (7, "UNAVAILABLE"), (11, "RESOURCE_EXHAUSTED"),
        ):  # fmt: skip
            call = channel.unary_stream("/t.Service/Counting")(b"")
            assert await call.read() == b"first"
            backend.requests[-1].reset_by(reset)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode[code]


async def test_a_backend_that_is_killed_in_the_middle_of_a_stream(proxy: Proxy) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.grpc.backend_process", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    await proxy.route("a.test", url)
    async with calling(proxy.port) as through, calling(int(url.rpartition(":")[2])) as directly:
        waiting = [c.unary_stream("/t.Service/Waiting")(b"") for c in (through, directly)]
        assert [await call.read() for call in waiting] == [b"begun", b"begun"]
        process.kill()
        await process.wait()
        for call in waiting:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def unavailable(asked: Asked) -> None:
    asked.head(GRPC, (b"grpc-status", b"14"), end=True)


def unavailable_behind_a_message(asked: Asked) -> None:
    asked.head(GRPC)
    asked.body_part(b"\0\0\0\0\2hi")
    asked.end((b"grpc-status", b"14"))


def unavailable_late(asked: Asked) -> None:
    asked.head(GRPC)
    asyncio.get_running_loop().call_soon(asked.end, (b"grpc-status", b"14"))


def not_found(asked: Asked) -> None:
    asked.head(GRPC, (b"grpc-status", b"5"), end=True)


ANSWERS = {
    "head.test": unavailable,
    "whole.test": unavailable_behind_a_message,
    "late.test": unavailable_late,
    "client.test": not_found,
}


async def test_what_a_status_does_to_its_backend(valkey: RedisServer) -> None:
    """It is out where the calls of different clients fail, and others do better."""
    async with (
        proxying(valkey, http2=True, trustedProxies=["127.0.0.0/8"]) as proxy,
        speaking_http2() as sick,
        speaking_http2() as well,
    ):
        sick.on_end = lambda asked: ANSWERS[(asked.get(b":authority") or b"").decode()](asked)
        well.on_end = lambda asked: asked.head(GRPC, (b"grpc-status", b"0"), end=True)
        for host in ANSWERS:
            await proxy.route(host, sick.url, well.url)
            async with calling(proxy.port, host) as channel:
                for number in range(40):
                    method = channel.unary_unary(f"/t.Service/{number % 7}")
                    client = ("x-forwarded-for", f"192.0.2.{number % 5}")
                    call = method(b"", metadata=(client,))
                    assert await call.code() in (grpc.StatusCode.OK, *FAILURES)
        async with valkey.client as redis:
            out = [host for host in ANSWERS if await redis.exists(f"dead-info:{host}")]
    assert out == ["head.test", "whole.test", "late.test"]


async def test_calls_without_a_body_are_judged_and_logged(
    valkey: RedisServer, tmp_path: Path, either_way: None
) -> None:
    """They end with their HEADERS, and so do their answers: nothing of them has to wait."""
    path = tmp_path / "log"
    log = {"accessLog": str(path), "accessLogFormat": "json"}
    call = b"POST /%d HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.%d\r\n"
    async with (
        proxying(valkey, trustedProxies=["127.0.0.0/8"], **log) as proxy,
        speaking_http2() as sick,
        speaking_http2() as well,
    ):
        sick.on_end = unavailable
        well.on_end = lambda asked: asked.head(GRPC, (b"grpc-status", b"0"), end=True)
        await proxy.route("a.test", sick.url, well.url)
        for number in range(40):
            fields = call % (number % 7, number % 5) + b"Content-Type: application/grpc\r\n"
            reply = await proxy.talk(fields + b"Connection: close\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 200 ")
            assert b"\r\ngrpc-status: " in reply
        async with valkey.client as redis:
            assert await redis.exists("dead-info:a.test")
    told = [json.loads(line)["grpc_status"] for line in path.read_text().splitlines()]
    assert set(told) == {0, 14}
