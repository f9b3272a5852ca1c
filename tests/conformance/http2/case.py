"""One row of the table: the frames that a client sends, and what must come of them.

The rows know nothing of who is tested: `run` speaks to any port, and an observer tells
what arrived behind it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tests.conformance.case import Seen
from tests.conformance.http2.frames import CODES, PREFACE, head, headers
from tests.conformance.http2.wire import Wire

PROBE, PROBE_PATH = 0x7001, b"/probe"
"""The stream and the path of the request that asks whether the connection still serves."""
UNJUDGED = (PROBE_PATH, b"/late")


@dataclass(frozen=True)
class Until:
    """Wait for the end of `stream`'s answer, or for `size` octets of its body: 0 for its head.

    On stream 0: until the server has handled what was sent.
    """

    stream: int = 0
    size: int | None = None


Step = bytes | Until | Callable[[Wire], bytes]
"""Bytes to send, something to wait for, or bytes that depend on the server's SETTINGS."""


def connection_error(*codes: str) -> tuple[str, ...]:
    """GOAWAY; to close without one is allowed (RFC 9113 §5.4.1)."""
    return (*(f"GOAWAY {code}" for code in codes), "closed")


def stream_error(*codes: str) -> tuple[str, ...]:
    """RST_STREAM; a server may make a connection error of it (RFC 9113 §5.4.1)."""
    return (*(f"RST_STREAM {code}" for code in codes), *connection_error(*codes))


MALFORMED = ("RST_STREAM PROTOCOL_ERROR", "400", "GOAWAY PROTOCOL_ERROR", "closed")
"""A request that is malformed; an answer may come before the reset (RFC 9113 §8.1.1)."""
SERVED = ("200",)
IGNORED = ("ignored",)


@dataclass(frozen=True)
class Case:
    """`send` follows `preface`. `verdicts` are what the RFC allows, first what Hipache does:

    - `200`: what the stream was answered, and the connection serves another one
    - `RST_STREAM CODE`: the stream was reset, and the connection serves another one
    - `GOAWAY CODE`: the connection ended so; `closed`: without a word
    - `ignored`: nothing came on the stream, and the connection serves another one
    - `HTTP/1.1 400`: another protocol was spoken

    `stream`: whose fate is judged; 0 for none. `seen`: the requests that must arrive, in
    order, None for any; `fields`: values that the last of them must have, an empty list for none.
    `check`: what else holds of what came back. `last`: the connection need not go on.
    """

    name: str
    source: str
    send: tuple[Step, ...]
    verdicts: tuple[str, ...] = SERVED
    stream: int = 1
    seen: tuple[Seen, ...] | None = ()
    fields: tuple[tuple[bytes, list[bytes]], ...] = ()
    check: Callable[[Wire], bool] | None = None
    preface: bytes = PREFACE
    last: bool = False
    alpn: tuple[str, ...] = ()
    """Speak TLS and offer these; nothing for cleartext."""


class Place(NamedTuple):
    """Where a server listens; `patience` in seconds: to wait longer is to fail."""

    port: int
    tls_port: int
    patience: float = 5.0


class Outcome(NamedTuple):
    verdict: str
    fault: str
    """Empty if the case holds, else what did not."""


def run(case: Case, place: Place, observed: Callable[[], list[Seen]]) -> Outcome:
    """`observed` empties the observer."""
    observed()
    with connect(case, place) as sock:
        wire = Wire(sock)
        verdict = judged(case, wire)
    arrived = [seen for seen in observed() if seen.target not in UNJUDGED]
    return Outcome(verdict, fault(case, wire, verdict, arrived))


def connect(case: Case, place: Place) -> socket.socket:
    port = place.tls_port if case.alpn else place.port
    sock = socket.create_connection(("127.0.0.1", port), place.patience)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not case.alpn:
        return sock
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(case.alpn))
    return context.wrap_socket(sock, server_hostname="a.test")


def judged(case: Case, wire: Wire) -> str:
    try:
        wire.send(case.preface)
        for step in case.send:
            take(step, wire)
        verdict = fate(case, wire)
        if not case.last:
            wire.send(headers(PROBE, head(path=PROBE_PATH)))
            wire.ended(PROBE)
            if wire.of(PROBE).status != 200:
                return f"{verdict}, then not served: {wire.of(PROBE)}"
        return verdict
    except EOFError:
        if wire.other:
            return wire.other.split(b"\r\n")[0][:12].decode()
        return f"GOAWAY {code(wire.goaway)}" if wire.goaway else "closed"
    except TimeoutError:
        return "unanswered"


def take(step: Step, wire: Wire) -> None:
    if isinstance(step, bytes):
        wire.send(step)
    elif not isinstance(step, Until):
        wire.until(lambda: bool(wire.settings))
        wire.send(step(wire))
    elif not step.stream:
        wire.ponged()
    elif step.size is None:
        wire.ended(step.stream)
    else:
        answer, size = wire.of(step.stream), step.size
        wire.until(lambda: bool(answer.fields) and len(answer.body) >= size)


def fate(case: Case, wire: Wire) -> str:
    """Of the stream that is judged."""
    if not case.last:
        wire.ponged()
    if not case.stream:
        return "ignored"
    if case.verdicts != IGNORED:
        wire.ended(case.stream)
    answer = wire.of(case.stream)
    if answer.ended and answer.fields:
        return f"{answer.status}"
    return "ignored" if answer.reset is None else f"RST_STREAM {code(answer.reset)}"


def code(number: int | None) -> str:
    return CODES[number] if number is not None and number < len(CODES) else str(number)


def fault(case: Case, wire: Wire, verdict: str, arrived: list[Seen]) -> str:
    if verdict not in case.verdicts:
        return f"{verdict}, not {' or '.join(case.verdicts)}"
    if case.seen is not None and tuple(arrived) != case.seen:
        return f"arrived: {arrived}"
    for name, values in case.fields:
        if arrived[-1].values(name) != values:
            return f"{name.decode()} arrived as {arrived[-1].values(name)}"
    if case.check is not None and not case.check(wire):
        return f"came back: {repr(wire.answers)[:300]}"
    return ""
