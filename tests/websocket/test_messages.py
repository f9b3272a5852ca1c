"""What goes through an open socket, and how fast the slow side makes the fast one."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode

from tests.websocket.peers import Got, Wire, after_handshake, backend, echo_backend, silence
from tests.websocket.serving import proxying

MIB = 1024 * 1024
SIZES = [0, 1, 125, 126, 65535, 65536, 16 * MIB]


@pytest.mark.parametrize("size", SIZES)
async def test_messages_of_every_size_come_back_as_they_were(mode: str, size: int) -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode=mode) as proxy,
        proxy.connect() as client,
    ):
        text, binary = "é" * (size // 2), b"\xff" * size
        for message in (text, binary, text):  # the session goes on behind each
            await client.send(message)
            assert await client.recv() == message


async def test_a_message_in_fragments_with_pings_between_them(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        wire.frame(Opcode.TEXT, b"one ", fin=False)
        wire.frame(Opcode.PING, b"now?")
        wire.frame(Opcode.CONT, b"two ", fin=False)
        assert await wire.read_frame() == (Opcode.PONG, b"now?", True, False)
        wire.frame(Opcode.CONT, b"three")
        assert (await wire.read_frame()).data == b"one two three"


async def test_a_tunnel_leaves_fragments_as_they_are() -> None:
    async def script(wire: Wire) -> None:
        for part in (b"a", b"b"):
            wire.frame(Opcode.BINARY if part == b"a" else Opcode.CONT, part, fin=False)
        await silence(wire)

    async with backend(after_handshake(script)) as there, proxying(there.url) as proxy:
        wire = await proxy.open()
        assert await wire.read_frame() == (Opcode.BINARY, b"a", False, False)
        assert await wire.read_frame() == (Opcode.CONT, b"b", False, False)


async def test_pings_and_pongs_go_from_end_to_end_in_a_tunnel() -> None:
    seen: asyncio.Queue[Got] = asyncio.Queue()

    async def script(wire: Wire) -> None:
        seen.put_nowait(await wire.read_frame())
        wire.frame(Opcode.PING, b"down")
        seen.put_nowait(await wire.read_frame())

    async with backend(after_handshake(script)) as there, proxying(there.url) as proxy:
        wire = await proxy.open()
        wire.frame(Opcode.PING, b"up")
        assert await seen.get() == (Opcode.PING, b"up", True, False)
        assert await wire.read_frame() == (Opcode.PING, b"down", True, False)
        wire.frame(Opcode.PONG, b"my own")
        assert await seen.get() == (Opcode.PONG, b"my own", True, False)


async def test_text_that_is_not_utf8_ends_with_1007(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        wire.frame(Opcode.TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")
        assert (await wire.read_close())[0] == 1007


async def test_text_from_a_backend_that_is_not_utf8_reaches_no_client_as_text() -> None:
    async def script(wire: Wire) -> None:
        wire.frame(Opcode.TEXT, b"\xff")
        assert (await wire.read_close())[0] == 1007

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode="relay") as proxy,
    ):
        assert (await (await proxy.open()).read_close())[0] == 1014
        await there.wires[0].done.wait()


async def test_a_tunnel_knows_no_limit_of_its_own() -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, webSocketMaxMessage=10) as proxy,
        proxy.connect() as client,
    ):
        await client.send(b"x" * 11)
        assert await client.recv() == b"x" * 11


async def test_a_message_in_more_fragments_than_bytes(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        wire.frame(Opcode.TEXT, b"", fin=False)
        for i in range(1000):
            wire.frame(Opcode.CONT, b"x" * (i % 2), fin=False)
        wire.frame(Opcode.CONT, b"")
        assert (await wire.read_frame()).data == b"x" * 500


@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_client_that_sends_too_much_is_told_so(fragments: int) -> None:
    async with (
        backend(after_handshake(silence)) as there,
        proxying(there.url, mode="relay", webSocketMaxMessage=10) as proxy,
    ):
        wire = await proxy.open()
        for i in range(fragments):
            opcode = Opcode.CONT if i else Opcode.BINARY
            wire.frame(opcode, b"x" * (12 // fragments), fin=i == fragments - 1)
        assert (await wire.read_close())[0] == 1009
        await there.wires[0].done.wait()


async def test_a_backend_that_sends_too_much_is_told_so() -> None:
    async def script(wire: Wire) -> None:
        wire.frame(Opcode.BINARY, b"x" * 11)
        assert (await wire.read_close())[0] == 1009

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode="relay", webSocketMaxMessage=10) as proxy,
    ):
        assert (await (await proxy.open()).read_close())[0] == 1014
        await there.wires[0].done.wait()


def is_compressed(connection: object) -> bool:
    protocol = connection.protocol  # type: ignore[attr-defined]
    return any(isinstance(each, PerMessageDeflate) for each in protocol.extensions)


@pytest.mark.parametrize(("mode", "wanted", "compressed"), [
    ("tunnel", False, True),
    ("relay", False, False),
    ("relay", True, True),
])  # fmt: skip
async def test_who_negotiates_compression(mode: str, wanted: bool, compressed: bool) -> None:
    async with (
        echo_backend(compression="deflate") as there,
        proxying(there.url, mode=mode, webSocketCompression=wanted) as proxy,
        proxy.connect(compression="deflate") as client,
    ):
        assert is_compressed(client) == compressed
        await client.send("word " * 1000)
        assert await client.recv() == "word " * 1000


async def test_a_compressed_bomb_stops_at_the_limit() -> None:
    packer = zlib.compressobj(wbits=-12)
    bomb = packer.compress(bytes(50 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with (
        echo_backend(compression="deflate") as there,
        proxying(
            there.url, mode="relay", webSocketCompression=True, webSocketMaxMessage=MIB
        ) as proxy,
    ):
        wire = await proxy.open(b"Sec-WebSocket-Extensions: permessage-deflate")
        head = bytes((0x80 | 0x40 | Opcode.BINARY, 0xFF)) + len(bomb[:-4]).to_bytes(8, "big")
        wire.write(head + bytes(4) + bomb[:-4])
        assert (await wire.read_close())[0] == 1009


LOTS = 64 * MIB
"""More than the buffers of two connections in a kernel and in a proxy."""


@pytest.mark.parametrize("reader", ["client", "backend"])
async def test_a_slow_reader_stops_the_writer(mode: str, reader: str) -> None:
    """And gets everything, in order, when it reads on."""
    stalled = asyncio.Event()
    read_on = asyncio.Event()
    total = 0

    async def write(wire: Wire) -> None:
        for i in range(LOTS // MIB):
            wire.frame(Opcode.BINARY, bytes([i]) * MIB)
            try:
                async with asyncio.timeout(0.2):
                    await wire.writer.drain()
            except TimeoutError:
                stalled.set()
                await wire.writer.drain()

    async def read(wire: Wire) -> None:
        nonlocal total
        await read_on.wait()
        for i in range(LOTS // MIB):
            frame = await wire.read_frame()
            assert frame.data == bytes([i]) * MIB
            total += 1

    at_client, at_backend = (read, write) if reader == "client" else (write, read)
    async with (
        backend(after_handshake(at_backend)) as there,
        proxying(there.url, mode=mode) as proxy,
        asyncio.TaskGroup() as ends,
    ):
        ends.create_task(at_client(await proxy.open()))
        await stalled.wait()
        assert total == 0
        read_on.set()
        await there.wires[0].done.wait()
    assert total == LOTS // MIB
