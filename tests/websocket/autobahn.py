"""Autobahn's cases against an echo server, directly and through the proxy, case by case.

`make autobahn`, or `python -m tests.websocket.autobahn [CASES] [MESSAGES]`, say
`1.*,6.4.*`. kosoku runs the suite's own case files; the suite itself needs
Python 2. MESSAGES: at most so many per case of compression, in place of 1,000.
Exit status 1 where a case fails or ends otherwise than on a direct connection.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import MethodType
from typing import Any

import uvloop
from kosoku import FailureError, run_fuzzingclient
from kosoku.cases import CASES
from websockets.asyncio import messages as joining
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

from tests.websocket.peers import echo_backend
from tests.websocket.serving import proxying

HOST = b"127.0.0.1"
"""kosoku sends the name it connects to."""
AT_ONCE = 16
COMPRESSION = ("12.", "13.")
"""These cases compute, others wait: they run one at a time."""
FEWER = 100
"""Messages of a compression case that was not over after the 20 s kosoku gives to each."""
AGAIN = 5
"""Runs of a case whose outcome depends on who is faster, before it counts as different."""

# The library's server takes messages of 4096 fragments, the cases 9.3 and 9.4 send 65,536.
joining.MAX_FRAGMENTS = 1 << 20

GROUPS = [
    *(f"{number}.*" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)),
    *(f"12.{number}.*" for number in range(1, 6)),
    *(f"13.{number}.*" for number in range(1, 8)),
]

Outcome = tuple[str, str, int | None]


class Comparison:
    """What each case came to, by way."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, Outcome]] = {}
        self.failed: dict[str, list[str]] = {}
        self.different: dict[str, list[str]] = {}

    async def run(self, cases: Sequence[str], *, compression: bool = True) -> None:
        """Run `cases` (globs) directly, through the tunnel and through the relay."""
        async with ways(compression) as urls:
            for way, url in urls.items():
                self.outcomes[way] = await outcomes(url, cases)
                self.failed[way] = [
                    case
                    for case, it in self.outcomes[way].items()
                    if "FAILED" in it or "ERROR" in it
                ]
            for way in ("tunnel", "relay"):
                here, direct = self.outcomes[way], self.outcomes["direct"]
                self.different[way] = [
                    case
                    for case in direct
                    if here[case] != direct[case] and not await same(case, way, urls, here[case])
                ]


async def same(case: str, way: str, urls: dict[str, str], outcome: Outcome) -> bool:
    """Whether a direct connection ends so too, now and then, or this way as a direct one does."""
    direct = {(await outcomes(urls["direct"], [case]))[case] for _ in range(AGAIN)}
    here = {(await outcomes(urls[way], [case]))[case] for _ in range(AGAIN)} | {outcome}
    return bool(direct & here)


async def outcomes(url: str, cases: Sequence[str], at_once: int = AT_ONCE) -> dict[str, Outcome]:
    """What each case came to. A failed one is run again alone: some of them are against time."""
    if cases[0].startswith(COMPRESSION):
        at_once = 1
    try:
        results = await run_fuzzingclient(url, cases, concurrency=at_once)
    except FailureError as failure:
        results = failure.results
    found = {result.case_id: outcome(result) for result in results}
    failed = [case for case, it in found.items() if is_failure(it)]
    if failed and at_once > 1:
        found |= await outcomes(url, failed, at_once=1)
    elif slow := [result.case_id for result in results if too_slow(result)]:
        print("        not over in time, so with fewer messages:", *slow)
        with at_most(FEWER, slow):
            found |= await outcomes(url, slow, at_once=1)
    return found


def too_slow(result: Any) -> bool:
    """Whether nothing was wrong but that time ran out, in a case that has messages to spare."""
    return "did not finish" in result.result and messages_of(result.case_id) > FEWER


def messages_of(case: str) -> int:
    count: int = getattr(CASES[case], "COUNT", 0) if case.startswith(COMPRESSION) else 0
    return count


@contextmanager
def at_most(messages: int, cases: Sequence[str]) -> Iterator[None]:
    """Compression cases with fewer messages."""
    before = {case: messages_of(case) for case in cases}
    try:
        for case, count in before.items():
            if count:
                CASES[case].COUNT = min(count, messages)
        yield
    finally:
        for case, count in before.items():
            if count:
                CASES[case].COUNT = count


def is_failure(outcome: Outcome) -> bool:
    return not {"FAILED", "ERROR", "WRONG CODE", "UNCLEAN"}.isdisjoint(outcome)


def outcome(result: Any) -> Outcome:
    return (result.behavior.value, result.behavior_close.value, result.remote_close_code)


def close_inside_a_message(self: ServerConnection, frame: Frame) -> None:
    """A close frame may come there (RFC 6455 §5.5.1); the library answers 1002 (case 7.1.5)."""
    if frame.opcode is Opcode.CLOSE:
        self.protocol.current_size = None
    type(self.protocol).recv_frame(self.protocol, frame)


async def mend(connection: ServerConnection, request: object) -> None:
    connection.protocol.recv_frame = MethodType(  # type: ignore[method-assign]
        lambda protocol, frame: close_inside_a_message(connection, frame), connection.protocol
    )


@asynccontextmanager
async def ways(compression: bool) -> AsyncIterator[dict[str, str]]:
    """URLs of one echo server: its own, and through two proxies."""
    async with (
        echo_backend(compression="deflate" if compression else None, process_request=mend) as echo,
        proxying(echo.url, host=HOST) as tunnel,
        proxying(echo.url, host=HOST, mode="relay", webSocketCompression=compression) as relay,
    ):
        ports = {"direct": echo.port, "tunnel": tunnel.port, "relay": relay.port}
        yield {way: f"ws://127.0.0.1:{port}/" for way, port in ports.items()}


def main(groups: Sequence[str], messages: int = 1000) -> int:
    """Run group by group: all of them take an hour, most of it for compression."""
    bad = 0
    for group in groups:
        comparison = Comparison()
        with at_most(messages, list(CASES)):
            uvloop.run(comparison.run([group]))
        for way, results in comparison.outcomes.items():
            counts = sorted(Counter(behavior for behavior, _, _ in results.values()).items())
            print(f"{group:7} {way:7}", *(f"{name} {count}" for name, count in counts), flush=True)
            for name, listed in (
                ("failed", comparison.failed),
                ("different", comparison.different),
            ):
                for case in listed.get(way, ()):
                    bad += 1
                    print("       ", name, case, results[case], comparison.outcomes["direct"][case])
    return int(bad > 0)


if __name__ == "__main__":
    logging.getLogger("app").setLevel(logging.ERROR)  # not `hipache serve`, and it would say so
    chosen, messages = [*sys.argv[1:], "", ""][:2]
    sys.exit(main(chosen.split(",") if chosen else GROUPS, int(messages or 1000)))
