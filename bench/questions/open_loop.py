"""Latency of a small GET at a rate that does not wait: `python -m bench.questions.open_loop`.

wrk's clients wait for an answer before they ask again, so a pause of the proxy delays one
request of each. Here requests are due at a steady rate, whatever the answers do, and a request's
latency counts from when it was due (as wrk2 has it), even if its connection is still busy.

Each proxy runs alone at shares of its own capacity, which wrk finds out first, or of what this
generator can send (`--most`). The rates are the same for all of a share with `--rate`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

import uvloop

from bench.compare import needs
from bench.compare.proxies import known
from bench.compare.report import table
from bench.compare.results import percentile
from bench.compare.rig import ANSWERS, Rig, Running, rig
from bench.compare.scenarios import BY_NAME
from bench.questions.instructions import SMALL_GET

TICK = 0.001
"""Seconds; what is due within one is sent at once."""
CONNECTIONS = 64
WARM_UP = 1.0
PATIENCE = 10.0
"""Seconds that the last answers may take."""
END = ANSWERS["/small"]
HEADINGS = ("proxy", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "generator late, ms")


class Client(asyncio.Protocol):
    """One connection with one request at a time; what is due meanwhile waits."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._due: deque[float] = deque()
        self._answer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def ask(self, due: float) -> None:
        """Send a request now, or once the ones before it are answered."""
        self._due.append(due)
        if len(self._due) == 1 and self.transport is not None:
            self.transport.write(SMALL_GET.request())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(END):
            return
        if not self._answer.startswith(b"HTTP/1.1 200 "):
            self._seen.errors += 1
        self._answer = b""
        self._seen.latencies.append(monotonic() - self._due.popleft())
        if self._due and self.transport is not None:
            self.transport.write(SMALL_GET.request())

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        self._seen.errors += len(self._due)


@dataclass
class Seen:
    """What all connections have seen. Times are seconds."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    asked: int = 0
    late: float = 0.0
    """How late the generator itself was at most: the figures are no better than that."""


async def load(port: int, rate: float, seconds: float, connections: int = CONNECTIONS) -> Seen:
    """Ask at `rate` a second, for `seconds`."""
    loop, seen = asyncio.get_running_loop(), Seen()
    clients = [
        (await loop.create_connection(lambda: Client(seen), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    began = monotonic()
    for tick in range(1, int(seconds / TICK) + 1):
        due = began + tick * TICK
        await asyncio.sleep(due - monotonic())
        seen.late = max(seen.late, monotonic() - due)
        while seen.asked < tick * TICK * rate:
            clients[seen.asked % connections].ask(due)
            seen.asked += 1
    until = monotonic() + PATIENCE
    while len(seen.latencies) + seen.errors < seen.asked and monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    seen.errors += max(0, seen.asked - len(seen.latencies) - seen.errors)
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
    return seen


def row(name: str, rate: float, seen: Seen) -> list[str]:
    """One line of the table, in ms."""
    times = sorted(seen.latencies)
    shown = [f"{1e3 * percentile(times, share):.2f}" for share in (50, 99, 99.9)]
    return [name, f"{rate:,.0f}", *shown, f"{1e3 * seen.late:.1f}", str(seen.errors)]


def rates(running: Rig, proxy: Running, options: argparse.Namespace) -> list[float]:
    """The rates for one proxy, least first."""
    if options.rate:
        return [float(options.rate)]
    seen = running.measure(proxy, BY_NAME["small_get"], 0, 3)
    capacity = min(seen.requests / seen.seconds, options.most)
    return [capacity * share for share in options.shares]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if a request failed."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.open_loop")
    options.add_argument("--proxies", default="nginx,haproxy,hipache")
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8])
    options.add_argument("--most", type=float, default=25_000, help="requests/s of the generator")
    options.add_argument("--rate", type=float, default=0, help="requests/s, the same for all")
    given = options.parse_args(argv)
    chosen = [known()[name] for name in given.proxies.split(",")]
    programs = {"nginx", "wrk"}.union(*(proxy.programs for proxy in chosen))
    needs.install(programs)
    if gone := needs.missing(programs):
        print(f"needs {', '.join(sorted(gone))} on PATH", file=sys.stderr)
        return 2
    rows, errors = [], 0
    with rig(chosen) as running:
        running.check(BY_NAME["small_get"])
        for proxy in running.running:
            os.sched_setaffinity(0, {proxy.site.load_core})
            for rate in rates(running, proxy, given):
                uvloop.run(load(proxy.site.port, rate, WARM_UP))
                seen = uvloop.run(load(proxy.site.port, rate, given.seconds))
                rows.append(row(proxy.name, rate, seen))
                errors += seen.errors
    print(table([*HEADINGS, "errors"], rows))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
