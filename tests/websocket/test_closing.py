"""How a session ends, from either side, politely and not."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Opcode

from tests.websocket.peers import Wire, after_handshake, backend, echo_backend, silence
from tests.websocket.serving import proxying

CODES = [None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]


@pytest.mark.parametrize("code", CODES)
async def test_the_code_and_reason_of_a_client_reach_the_backend(
    mode: str, code: int | None
) -> None:
    seen: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()

    async def script(wire: Wire) -> None:
        close = await wire.read_close()
        wire.close_frame(*close)
        seen.put_nowait(close)

    said = (code, "" if code is None else "wäre gern")
    async with backend(after_handshake(script)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        wire.close_frame(*said)
        assert await seen.get() == said
        assert await wire.read_close() == said
        assert await wire.rest() == b""


@pytest.mark.parametrize("code", CODES)
async def test_the_code_and_reason_of_a_backend_reach_the_client(
    mode: str, code: int | None
) -> None:
    said = (code, "" if code is None else "wäre gern")
    seen: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()

    async def script(wire: Wire) -> None:
        wire.close_frame(*said)
        seen.put_nowait(await wire.read_close())

    async with backend(after_handshake(script)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        assert await wire.read_close() == said
        wire.close_frame(*said)
        assert await seen.get() == said
        assert await wire.rest() == b""


@pytest.mark.parametrize("how", ["reset", "end", "inside a frame"])
async def test_a_client_that_vanishes_ends_the_backends_connection(mode: str, how: str) -> None:
    async with backend(after_handshake(silence)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        vanish(wire, how)
        async with asyncio.timeout(5):
            await there.wires[0].done.wait()


def vanish(wire: Wire, how: str) -> None:
    if how == "inside a frame":
        wire.write(b"\x82\x8a1234half")
    if how == "reset":
        wire.reset()
    else:
        wire.writer.close()


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_a_backend_that_vanishes_is_a_bad_gateway(mode: str, how: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.read_frame()
        vanish(wire, how)

    async with backend(after_handshake(script)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        wire.frame(Opcode.TEXT, b"go")
        async with asyncio.timeout(5):
            assert (await wire.read_close())[0] == 1014
            wire.close_frame(1014)
            assert await wire.rest() == b""


async def test_a_backend_that_vanishes_inside_a_frame_cuts_a_tunnel() -> None:
    async def script(wire: Wire) -> None:
        wire.write(b"\x82\x0ahalf")

    async with backend(after_handshake(script)) as there, proxying(there.url) as proxy:
        wire = await proxy.open()
        async with asyncio.timeout(5):
            assert await wire.rest() == b"\x82\x0ahalf"


async def test_a_backend_that_never_answers_the_close_does_not_keep_the_client(mode: str) -> None:
    async with (
        backend(after_handshake(silence)) as there,
        proxying(there.url, mode=mode, webSocketCloseTimeout=0.05) as proxy,
    ):
        wire = await proxy.open()
        wire.close_frame(4000, "bye")
        assert (await wire.read_close())[0] == 4000
        assert await wire.rest() == b""
        await there.wires[0].done.wait()


async def test_a_client_that_never_answers_the_close_does_not_keep_the_backend(mode: str) -> None:
    async def script(wire: Wire) -> None:
        wire.close_frame(4000, "bye")
        assert (await wire.read_close())[0] == 4000

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode=mode, webSocketCloseTimeout=0.05) as proxy,
    ):
        wire = await proxy.open()
        assert await wire.read_close() == (4000, "bye")
        await there.wires[0].done.wait()


async def test_an_idle_session_ends_where_there_is_a_limit(mode: str) -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode=mode, webSocketIdleTimeout=0.1) as proxy,
    ):
        wire = await proxy.open()
        assert await wire.read_close() == (1001, "")


async def test_a_silent_client_is_found_by_the_relays_ping() -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode="relay", webSocketPing=0.05) as proxy,
    ):
        wire = await proxy.open()
        assert (await wire.read_frame()).opcode is Opcode.PING
        assert (await wire.read_close())[0] == 1011


async def test_a_silent_backend_is_found_by_the_relays_ping() -> None:
    async def script(wire: Wire) -> None:
        assert (await wire.read_frame()).opcode is Opcode.PING
        assert (await wire.read_close())[0] == 1011

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode="relay", webSocketPing=0.1) as proxy,
    ):
        async with proxy.connect() as client:
            await client.wait_closed()
        assert client.close_code == 1014
        await there.wires[0].done.wait()


async def test_sockets_that_answer_pings_live_on() -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode="relay", webSocketPing=0.02) as proxy,
        proxy.connect() as client,
    ):
        for _ in range(5):
            await (await client.ping())
        await client.send("still here")
        assert await client.recv() == "still here"
