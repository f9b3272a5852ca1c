"""Backends and proxies, all up at once, and one measurement after the other."""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import procfs
from bench.compare import load
from bench.compare.proxies import Proxy
from bench.compare.results import Sample
from bench.compare.scenarios import EchoScenario, Http2Scenario, HttpScenario, Scenario
from bench.compare.sites import HOSTS, LARGE_BYTES, SMALL_BODY, Site, fill_in
from bench.processes import CHECKOUT, STARTUP_SECONDS, BenchError, serving, tail
from tests.ports import free_port

WARM_UP_SECONDS = 2.0
"""Load before a proxy's first measurement in a scenario, for its compiler, caches and pools."""

ANSWERS = {"/small": SMALL_BODY.encode(), "/large": b"x" * LARGE_BYTES, "/upload": b"received\n"}


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that serves."""

    name: str
    site: Site
    processes: list[int]
    only: frozenset[str]
    http2_port: int | None

    def measured_in(self, scenario: Scenario) -> bool:
        if isinstance(scenario, Http2Scenario) and self.http2_port is None:
            return False
        return not self.only or scenario.name in self.only

    def port_for(self, scenario: Scenario) -> int:
        """Where the load goes."""
        over_http2 = isinstance(scenario, Http2Scenario)
        return (self.http2_port if over_http2 else None) or self.site.port

    def cpu_seconds(self) -> float:
        return procfs.cpu_seconds(self.processes)


class Rig:
    """Proxies in front of the same backends."""

    def __init__(self, running: Sequence[Running]) -> None:
        self.running = running

    def check(self, scenario: Scenario) -> None:
        """Every proxy gives the right answer for the first and the last host, or BenchError."""
        if isinstance(scenario, EchoScenario):
            return  # its generator compares every byte
        for proxy in filter(lambda proxy: proxy.measured_in(scenario), self.running):
            for host in (HOSTS[0], HOSTS[scenario.hosts - 1]):
                found = _ask(proxy.site.port, host, scenario)
                if found != (200, ANSWERS[scenario.path]):
                    said = str(found)[:200]
                    raise BenchError(
                        f"{proxy.name} in {scenario.name}: {said}\n{tail(proxy.site.log)}"
                    )

    def measure(self, proxy: Running, scenario: Scenario, turn: int, seconds: float) -> Sample:
        """One run of `scenario` against `proxy`; the others stand idle meanwhile."""
        ours = [os.getpid()]
        started = time.monotonic()
        machine, us = procfs.machine_cpu_seconds(), procfs.cpu_seconds(ours)
        cpu = proxy.cpu_seconds()
        seen = load.run(
            scenario, proxy.port_for(scenario), seconds=seconds, core=proxy.site.load_core
        )
        cpu = proxy.cpu_seconds() - cpu
        us, machine = procfs.cpu_seconds(ours) - us, procfs.machine_cpu_seconds() - machine
        elapsed = time.monotonic() - started
        return Sample(
            scenario=scenario.name,
            proxy=proxy.name,
            round=turn,
            requests=seen.requests,
            seconds=seen.seconds,
            cpu_us=1e6 * cpu / max(1, seen.requests),
            busy=cpu / elapsed,
            p50_us=seen.p50_us,
            p99_us=seen.p99_us,
            errors=seen.errors,
            others=max(0.0, machine - us) / (elapsed * (os.cpu_count() or 1)),
        )

    def rounds(
        self, scenarios: Sequence[Scenario], rounds: int, seconds: float
    ) -> Iterator[Sample]:
        """Interleaved: each round measures every scenario and proxy once.

        The proxies' order turns from round to round, so that none always comes after the same.
        """
        for scenario in scenarios:
            self.check(scenario)
        for turn in range(rounds):
            first = turn % len(self.running)
            for scenario in scenarios:
                for proxy in [*self.running[first:], *self.running[:first]]:
                    if not proxy.measured_in(scenario):
                        continue
                    if turn == 0:
                        self.measure(proxy, scenario, turn, min(WARM_UP_SECONDS, seconds))
                    yield self.measure(proxy, scenario, turn, seconds)


@contextmanager
def rig(
    proxies: Sequence[Proxy], *, http_backend: bool = True, runner: tuple[str, ...] = ()
) -> Iterator[Rig]:
    """Start backends and `proxies`; everything is stopped when the block ends.

    `http_backend=False` does without nginx, for WebSocket scenarios alone; `runner` is
    put before every proxy's command.
    """
    core, load_core = procfs.cores()
    with tempfile.TemporaryDirectory(prefix="hipache-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        backend, inner, echo = free_port(), free_port(), free_port()
        if http_backend:
            _start_backend(stack, folder, backend, inner, load_core)
        argv = [sys.executable, "-m", "bench.echo", str(echo)]
        env = {"PYTHONPATH": str(CHECKOUT)}
        log = folder / "echo.log"
        stack.enter_context(serving(argv, echo, core=load_core, log=log, env=env))
        running = []
        for proxy in proxies:
            home = folder / proxy.name
            home.mkdir()
            port = free_port()
            site = Site(port, backend, echo, home, core, load_core, runner)
            processes = proxy.start(site, stack)
            running.append(Running(proxy.name, site, processes, proxy.only, proxy.http2_port))
        yield Rig(running)


def _start_backend(stack: ExitStack, folder: Path, port: int, inner: int, core: int) -> None:
    (folder / "large").write_bytes(ANSWERS["/large"])
    config = fill_in("backend.conf", folder, BACKEND=port, INNER=inner, SMALL=SMALL_BODY)
    log = folder / "backend.log"
    stack.enter_context(serving(["nginx", "-c", config], port, core=core, log=log))


def _ask(
    port: int, host: str, scenario: HttpScenario | Http2Scenario
) -> tuple[int, bytes] | Exception:
    """One request as `scenario` makes it. A proxy that does not route yet gets time to."""
    found: tuple[int, bytes] | Exception
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            client.request(
                scenario.method, scenario.path, body=b"x" * scenario.body, headers={"Host": host}
            )
            answer = client.getresponse()
            found = answer.status, answer.read()
            if answer.status == 200:
                return found
        except (OSError, http.client.HTTPException) as error:
            found = error
        finally:
            client.close()
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
