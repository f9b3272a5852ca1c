"""One row of the table: bytes that a client sends, and what must come of them.

The rows know nothing of who is tested: `run` sends them to any host and port, and
an observer tells what arrived behind it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

RawHeaders = list[tuple[bytes, bytes]]
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
TIMEOUT = 5.0
"""Seconds. Every case ends with a close, so to wait is to fail."""


@dataclass(frozen=True)
class Seen:
    """One request as it arrived behind the server under test; names lower-case."""

    method: bytes
    target: bytes
    body: bytes = b""
    headers: RawHeaders = field(default_factory=list, compare=False)
    trailers: RawHeaders = field(default_factory=list, compare=False)

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True)
class Case:
    """`send` is one connection's bytes; its last legal request asks for the close.

    `statuses`: what the last answer may be. `seen`: the requests that must arrive,
    in order; none for a refusal. `fields`: values that the last of them must have
    under these names, an empty list for a field that must not arrive. `trailers`: those that
    must arrive behind its body, and no others.
    `check`: what else holds of all that came back.
    """

    name: str
    source: str
    send: bytes
    statuses: tuple[int, ...] = (200,)
    seen: tuple[Seen, ...] = ()
    fields: tuple[tuple[bytes, list[bytes]], ...] = ()
    trailers: RawHeaders | None = None
    check: Callable[[bytes], bool] | None = None

    @property
    def refused(self) -> bool:
        return not self.seen


def run(case: Case, address: tuple[str, int], observed: Callable[[], list[Seen]]) -> str:
    """Empty if the case holds, else what did not. `observed` empties the observer."""
    observed()
    try:
        got = exchange(case.send, address)
    except TimeoutError:
        return f"no close within {TIMEOUT:.0f} s"
    status = last_status(got)
    if status not in case.statuses and not (case.refused and not got):
        return f"answered {status}, not {' or '.join(map(str, case.statuses))}"
    arrived = observed()
    if tuple(arrived) != case.seen:
        return f"arrived: {arrived}"
    for name, values in case.fields:
        if arrived[-1].values(name) != values:
            return f"{name.decode()} arrived as {arrived[-1].values(name)}"
    if case.trailers is not None and arrived[-1].trailers != case.trailers:
        return f"trailers arrived: {arrived[-1].trailers}"
    if case.check is not None and not case.check(got):
        return f"came back: {got[:300]!r}"
    return ""


def exchange(data: bytes, address: tuple[str, int]) -> bytes:
    """Send, and read to the close. A reset after the answer is a close too."""
    got = b""
    with socket.create_connection(address, TIMEOUT) as client:
        try:
            client.sendall(data)
            while part := client.recv(65536):
                got += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return got


def last_status(got: bytes) -> int:
    """Of the last answer, 0 where there is none."""
    return int([b"0", *_STATUS.findall(got)][-1])
