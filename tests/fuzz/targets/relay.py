"""A WebSocket's bytes through the relay, both ways at once.

What the relay sends on is judged by the websockets library: the backend gets nothing but
legal frames of a client, the client nothing but legal frames of a server, and of the
messages no other than were sent, in order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, State

from tests.fuzz.targets.tunnel import SEEDS, TOKENS, _Side, frame
from tests.fuzz.world import Finding, split

__all__ = ["SEEDS", "TOKENS", "check"]
LARGEST = 1 << 16
Message = tuple[Opcode, bytes]


@cache
def side() -> _Side:
    return _Side(webSocketRelay=True, webSocketMaxMessage=LARGEST, webSocketPing=0)


def check(data: bytes) -> None:
    if not data:
        return
    how, data = data[0], data[1:]
    here = side()
    unmasked = b"".join(frame(0x81 + n % 2, bytes([n]) * 40) for n in range(how & 7)) + data[1:]
    here.answer, here.early = split(unmasked, how >> 3), bool(how & 8)
    client, backend = here.world.run(here.session(split(data, how >> 2), how))
    head, _, got = client.got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 ") or backend is None:
        raise Finding(f"the handshake was answered {client.got!r}")
    compare("backend", sent=data, got=backend.got, by=SERVER)
    compare("client", sent=unmasked, got=got, by=CLIENT)


def compare(name: str, *, sent: bytes, got: bytes, by: Any) -> None:
    """`by`: in whose place the reader stands."""
    arrived, fault = messages(got, by)
    if fault is not None:
        raise Finding(f"the {name} got {got!r}: {fault!r}")
    legal, _ = messages(sent, by)
    if arrived != legal[: len(arrived)]:
        raise Finding(f"of {legal} the {name} got {arrived}")


def messages(data: bytes, by: Any) -> tuple[list[Message], Exception | None]:
    """The complete messages in a stream, and what is wrong with the rest."""
    reader = Protocol(by, state=State.OPEN, max_size=LARGEST)
    reader.receive_data(data)
    found: list[Message] = []
    parts: list[Frame] = []
    for event in reader.events_received():
        assert isinstance(event, Frame)
        if event.opcode not in DATA_OPCODES:
            continue
        parts.append(event)
        if event.fin:
            content = b"".join(bytes(part.data) for part in parts)
            if parts[0].opcode is Opcode.TEXT:
                try:
                    content.decode()
                except UnicodeDecodeError as exc:
                    return found, exc
            found.append((parts[0].opcode, content))
            parts = []
    return found, reader.parser_exc
