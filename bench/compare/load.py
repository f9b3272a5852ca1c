"""Run a scenario's load generator once, and read what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.compare.scenarios import EchoScenario, HttpScenario, Scenario
from bench.compare.sites import ECHO_HOST, HOST_PATTERN
from bench.processes import CHECKOUT, BenchError, pinned

LUA = Path(__file__).with_name("load.lua")
GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the clients saw."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int


def parse(output: str) -> Outcome:
    """The last line of JSON in a generator's output; wrk prints its own table around it."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return Outcome(**json.loads(line))
    raise BenchError(f"the load generator said nothing to count:\n{output[-2000:]}")


def run(scenario: Scenario, port: int, *, seconds: float, core: int) -> Outcome:
    """Put `scenario` on the proxy at `port` for `seconds` (wrk: whole ones, at least 1)."""
    done = subprocess.run(
        pinned(core, command(scenario, port, seconds)),
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=seconds + GRACE_SECONDS,
    )
    if done.returncode:
        raise BenchError(f"{scenario.name}: the load generator failed")
    return parse(done.stdout)


def command(scenario: Scenario, port: int, seconds: float) -> list[str]:
    """The generator's command line."""
    match scenario:
        case HttpScenario():
            return [
                "wrk", "-t1", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s",
                "-s", str(LUA), f"http://127.0.0.1:{port}{scenario.path}", "--",
                scenario.method, str(scenario.body), str(scenario.hosts), HOST_PATTERN,
                "keep-alive" if scenario.keep_alive else "close",
            ]  # fmt: skip
        case EchoScenario():
            return [
                sys.executable, "-m", "bench.compare.ws_load", str(port), ECHO_HOST,
                str(scenario.size), str(scenario.connections), str(scenario.in_flight),
                str(seconds),
            ]  # fmt: skip
