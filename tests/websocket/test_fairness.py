"""What speaks a lot at once does not keep the loop from everything else."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from websockets.frames import Frame, Opcode

from tests.websocket.peers import Wire, after_handshake, backend
from tests.websocket.serving import proxying

TOO_LONG = 0.08
"""Seconds of computing in one turn of the loop. Without a limit it is twice that."""


class LongestTurn:
    """CPU seconds of the loop's longest turn: what other processes take does not count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._at = time.thread_time()
        self._handle = asyncio.get_running_loop().call_later(0, self._look)

    def _look(self) -> None:
        now = time.thread_time()
        self.seconds = max(self.seconds, now - self._at)
        self._at = now
        self._handle = asyncio.get_running_loop().call_later(0, self._look)

    def stop(self) -> float:
        self._handle.cancel()
        return self.seconds


async def read_frames(wire: Wire, count: int, frame: bytes) -> None:
    """Count bytes: what the test computes itself is in the loop's turns too."""
    left = count * len(frame)
    while left:
        left -= len(await wire.reader.read(min(left, 65536)))


SOCKETS = 200
"""Four files each in this process, of the 1,024 that an ordinary user may open."""
MESSAGES = 180


@pytest.mark.parametrize("speaker", ["backend", "client"])
async def test_a_burst_on_many_sockets_leaves_time_for_others(speaker: str) -> None:
    down = Frame(Opcode.BINARY, b"x" * 100).serialize(mask=False)
    up = Frame(Opcode.BINARY, b"x" * 100).serialize(mask=True)
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await go.wait()
        if speaker == "backend":
            wire.write(down * MESSAGES)
            await wire.rest()
        else:
            await read_frames(wire, MESSAGES, up)

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode="relay", maxSockets=SOCKETS) as proxy,
    ):
        wires = [await proxy.open() for _ in range(SOCKETS)]
        turn = LongestTurn()
        go.set()
        if speaker == "backend":
            await asyncio.gather(*(read_frames(wire, MESSAGES, down) for wire in wires))
        else:
            for wire in wires:
                wire.write(up * MESSAGES)
            await asyncio.gather(*(wire.done.wait() for wire in there.wires))
        assert turn.stop() < TOO_LONG


async def test_what_came_late_arrives_before_the_end() -> None:
    """The socket ends while its last messages wait for their turn."""
    messages = 3000
    frame = Frame(Opcode.BINARY, b"x" * 100).serialize(mask=False)

    async def script(wire: Wire) -> None:
        wire.write(frame * messages)
        wire.close_frame(4000, "all")
        with suppress(ConnectionError):
            await wire.rest()

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode="relay") as proxy,
    ):
        wire = await proxy.open()
        await read_frames(wire, messages, frame)
        assert await wire.read_close() == (4000, "all")
