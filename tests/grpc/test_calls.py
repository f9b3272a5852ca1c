"""Calls of grpcio's clients through the proxy to grpcio's servers end as they do directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio

from tests.grpc.calls import Service, calling, service
from tests.redis_servers import RedisServer
from tests.serving import proxying


async def test_calls_of_every_kind(channel: grpc.aio.Channel) -> None:
    unary = channel.unary_unary("/t.Service/Unary")
    assert await unary(b"hello") == b"hello"
    assert await unary(b"") == b""
    counting = channel.unary_stream("/t.Service/Counting")
    assert [message async for message in counting(b"100")] == [b"%d" % i for i in range(100)]
    gathering = channel.stream_unary("/t.Service/Gathering")
    assert await gathering(iter([b"a", b"b", b"c"])) == b"abc"
    assert await gathering(iter([])) == b""
    call = channel.stream_stream("/t.Service/Echoing")()
    for message in (b"one", b"two", b"three"):
        await call.write(message)
        assert await call.read() == message
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    message = bytes(range(256)) * 16384
    assert await unary(message) == message


async def test_metadata_and_errors(channel: grpc.aio.Channel) -> None:
    unary = channel.unary_unary("/t.Service/Unary")
    call = unary(b"", metadata=(("echo-bin", b"\0\xff"),))
    assert dict(await call.initial_metadata())["echo-bin"] == b"\0\xff"
    assert dict(await call.trailing_metadata())["behind-bin"] == b"\0\xff"
    for code in ("NOT_FOUND", "UNAVAILABLE", "PERMISSION_DENIED"):
        call = unary(b"", metadata=(("fail", code),))
        assert await call.code() is grpc.StatusCode[code]
        assert await call.details() == "as you like: 100 % ü"
    assert await channel.unary_unary("/t.Service/None")(b"").code() is grpc.StatusCode.UNIMPLEMENTED


async def test_deadlines_and_cancels(channel: grpc.aio.Channel, served: Service) -> None:
    """Of each kind of call, before its end or in the midst of its messages."""
    kinds: list[Callable[..., Any]] = [
        partial(channel.unary_unary("/t.Service/Pondering"), b""),
        partial(channel.unary_stream("/t.Service/Waiting"), b""),
        channel.stream_unary("/t.Service/Gathering"),
        channel.stream_stream("/t.Service/Echoing"),
    ]
    for begin in kinds:
        served.asked.clear()
        for seconds in (0.1, 1, 10):  # a busy machine may need longer to begin
            call = begin(timeout=seconds)
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if served.asked.is_set():
                break
        await asyncio.wait_for(served.ended.wait(), 5)
        served.asked.clear()
        served.ended.clear()
        call = begin()
        if hasattr(call, "write"):
            await call.write(b"one")
        await asyncio.wait_for(served.asked.wait(), 5)
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        await asyncio.wait_for(served.ended.wait(), 5)
        served.ended.clear()
    assert await channel.unary_unary("/t.Service/Unary")(b"next") == b"next"


async def test_a_small_call_needs_no_task(valkey: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    ran: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        ran.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async with (
        service() as (_, url),
        proxying(valkey, http2=True) as proxy,
        calling(proxy.port) as channel,
    ):
        await proxy.route("a.test", url)
        unary = channel.unary_unary("/t.Service/Unary")
        assert await unary(b"connects") == b"connects"
        loop.set_task_factory(note)
        try:
            assert [await unary(b"%d" % n) for n in range(20)] == [b"%d" % n for n in range(20)]
        finally:
            loop.set_task_factory(None)
    # The bytes of some, or of their answers, may have come in two reads.
    assert sum(name == "Exchange.run" for name in ran) < 20
