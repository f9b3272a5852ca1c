"""Calls of grpcio's clients through the proxy to grpcio's servers end as they do directly."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from tests.grpc.calls import Service


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
    waiting = channel.unary_stream("/t.Service/Waiting")
    for seconds in (0.1, 1, 10):  # a busy machine may need longer to begin
        call = waiting(b"", timeout=seconds)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if served.asked.is_set():
            break
    await asyncio.wait_for(served.cancelled.wait(), 5)
    served.cancelled.clear()
    call = waiting(b"")
    assert await call.read() == b"begun"
    call.cancel()
    await asyncio.wait_for(served.cancelled.wait(), 5)
    assert await channel.unary_unary("/t.Service/Unary")(b"next") == b"next"
