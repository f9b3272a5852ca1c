"""What a relay holds of messages has a bound, and one address has a share of it."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Opcode

from app.websocket.held_messages import TRY_AGAIN_LATER
from tests.websocket.peers import Wire, after_handshake, backend, echo_backend, silence
from tests.websocket.serving import proxying

MIB = 2**20
PART = b"x" * 11_000
"""Of a share of 12,000 bytes and 4 KiB for each; twice that does not fit."""


async def taken(wire: Wire) -> None:
    """Wait until the proxy has read what was sent: it answers pings behind it."""
    wire.frame(Opcode.PING, b"?")
    assert (await wire.read_frame()).opcode is Opcode.PONG


@pytest.mark.parametrize("framed", [True, False], ids=["in frames", "inside a frame"])
async def test_messages_that_do_not_end_fill_a_share_and_no_more(framed: bool) -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode="relay", retryMemory=24_000) as proxy,
    ):
        first, second = await proxy.open(), await proxy.open()
        first.frame(Opcode.BINARY, PART, fin=False)
        await taken(first)
        if framed:
            second.frame(Opcode.BINARY, PART, fin=False)
        else:
            second.write(bytes((0x82, 0xFE)) + (11_500).to_bytes(2, "big") + bytes(4) + PART)
        assert (await second.read_close())[0] == TRY_AGAIN_LATER
        first.frame(Opcode.CONT)
        assert (await first.read_frame()).data == PART
        await taken(first)
        third = await proxy.open()
        third.frame(Opcode.BINARY, PART)  # all was given back
        assert len((await third.read_frame()).data) == 11_000


async def test_what_a_backend_does_not_end_counts_for_its_client() -> None:
    async def begin(wire: Wire) -> None:
        wire.frame(Opcode.BINARY, PART, fin=False)
        await wire.rest()

    async with (
        backend(after_handshake(begin)) as there,
        proxying(there.url, mode="relay", retryMemory=24_000) as proxy,
    ):
        first = await proxy.open()
        endings = (
            asyncio.create_task(first.read_close()),
            asyncio.create_task((await proxy.open()).read_close()),
        )
        ended, lives_on = await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        assert [(await each)[0] for each in ended] == [TRY_AGAIN_LATER]
        assert len(lives_on) == 1
        for each in lives_on:
            each.cancel()


async def test_a_message_that_could_never_be_held_is_too_big() -> None:
    async with (
        backend(after_handshake(silence)) as there,
        proxying(there.url, mode="relay", retryMemory=24_000) as proxy,
    ):
        wire = await proxy.open()
        wire.frame(Opcode.BINARY, b"x" * 12_001)
        assert (await wire.read_close())[0] == 1009


async def test_without_a_bound_all_is_held() -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode="relay", retryMemory=0) as proxy,
    ):
        wires = [await proxy.open() for _ in range(3)]
        for wire in wires:
            wire.frame(Opcode.BINARY, PART, fin=False)
            await taken(wire)
        for wire in wires:
            wire.frame(Opcode.CONT)
            assert (await wire.read_frame()).data == PART


async def test_a_message_that_the_backend_does_not_take_is_held() -> None:
    go = asyncio.Event()

    async def read_late(wire: Wire) -> None:
        await go.wait()
        await wire.read_frame()
        wire.frame(Opcode.TEXT, b"read")
        await wire.rest()

    async with (
        backend(after_handshake(read_late)) as there,
        proxying(there.url, mode="relay", retryMemory=32 * MIB, webSocketPing=0) as proxy,
    ):
        first, second = await proxy.open(), await proxy.open()
        first.frame(Opcode.BINARY, bytes(15 * MIB))  # more than two kernels' buffers
        await taken(first)
        second.frame(Opcode.BINARY, bytes(2 * MIB), fin=False)
        assert (await second.read_close())[0] == TRY_AGAIN_LATER
        go.set()
        assert (await first.read_frame()).data == b"read"
        third = await proxy.open()
        third.frame(Opcode.BINARY, bytes(2 * MIB), fin=False)
        await taken(third)
