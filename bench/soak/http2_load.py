"""A session of a client over HTTP/2: some requests at once, some of which it resets."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from ngh2 import Connection, DataReceived, ResponseReceived, Role, StreamClosed

from bench.soak.backend import body_of

WINDOW = 1 << 20


@dataclass
class Stream:
    """One request, and what has come of its answer."""

    target: bytes
    expected: bytes
    body: bytes | None
    leaves: bool
    """It is reset soon."""
    status: int = 0
    got: list[bytes] = field(default_factory=list)
    error: int | None = None
    """How it ended; None while it runs."""

    @property
    def fault(self) -> str | None:
        """What is wrong with its answer."""
        if self.error or self.status != 200:
            return f"{self.target!r} over HTTP/2: status {self.status}, reset {self.error}"
        if b"".join(self.got) != self.expected:
            return f"{self.target!r} over HTTP/2: other bytes"
        return None


def some_streams() -> list[Stream]:
    """Requests of any size and framing, up to 20 at once."""
    streams = []
    for _ in range(random.choice((1, 5, 20))):
        size = int(2 ** (random.random() * 17))
        what = random.choice((b"plain", b"plain", b"chunked", b"close", b"late"))
        body = body_of(int(2 ** (random.random() * 16))) if random.random() < 0.2 else None
        leaves = random.random() < 0.2
        streams.append(Stream(b"/%b/%d?soak" % (what, size), body_of(size), body, leaves))
    return streams


async def session(port: int) -> list[Stream]:
    """Ask for some streams on one connection. Raises EOFError where the proxy breaks it off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    engine = Connection(Role.CLIENT)
    engine.initiate_connection({4: WINDOW})
    engine.set_local_window_size(16 * WINDOW)
    running = {_ask(engine, stream): stream for stream in some_streams()}
    streams = list(running.values())
    try:
        writer.write(engine.data_to_send())
        for number, stream in tuple(running.items()):
            if stream.leaves:
                await asyncio.sleep(random.random() * 0.002)
                engine.reset_stream(number)
                running.pop(number)
        while running:
            writer.write(engine.data_to_send())
            data = await reader.read(1 << 16)
            if not data:
                raise EOFError("closed in the middle of streams")
            engine.receive_data(data)
            _take(engine, running)
    finally:
        writer.write(engine.data_to_send())
        writer.close()
    return streams


def _ask(engine: Connection, stream: Stream) -> int:
    method = b"GET" if stream.body is None else b"POST"
    fields = [
        (b":method", method), (b":scheme", b"http"), (b":authority", b"good.test"),
        (b":path", stream.target),
    ]  # fmt: skip
    number = engine.send_request(fields, end_stream=stream.body is None)
    if stream.body is not None:
        engine.send_data(number, stream.body, end_stream=True)
    return number


def _take(engine: Connection, running: dict[int, Stream]) -> None:
    for event in engine.events():
        if isinstance(event, StreamClosed):
            if (stream := running.pop(event.stream_id, None)) is not None:
                stream.error = event.error_code
        elif isinstance(event, ResponseReceived) and event.stream_id in running:
            running[event.stream_id].status = int(dict(event.headers)[b":status"])
        elif isinstance(event, DataReceived) and event.stream_id in running:
            running[event.stream_id].got.append(event.data)
