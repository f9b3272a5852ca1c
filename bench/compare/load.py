"""Run a scenario's load generator once, and read what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.compare.scenarios import EchoScenario, Http2Scenario, HttpScenario, Scenario
from bench.compare.sites import ECHO_HOST, HOST_PATTERN, HOSTS
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
    """Put `scenario` on the proxy at `port` for `seconds` (wrk, h2load: whole ones, at least 1)."""
    with tempfile.TemporaryDirectory(prefix="hipache-load-") as folder:
        if isinstance(scenario, Http2Scenario) and scenario.body:
            (Path(folder) / "body").write_bytes(b"x" * scenario.body)
        done = subprocess.run(
            pinned(core, command(scenario, port, seconds, folder)),
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=seconds + GRACE_SECONDS,
        )
        if done.returncode:
            raise BenchError(f"{scenario.name}: the load generator failed")
        if isinstance(scenario, Http2Scenario):
            return parse_h2load(done.stdout, (Path(folder) / "log").read_text())
    return parse(done.stdout)


def parse_h2load(output: str, log: str) -> Outcome:
    """h2load's summary, and its log: start, status and duration (µs) of each request."""
    took = re.search(r"finished in ([\d.]+)(m?s)", output)
    said = output.partition("requests: ")[2].split("\n")[0]
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", said)}
    if took is None or not log:
        raise BenchError(f"the load generator said nothing to count:\n{output[-2000:]}")
    times = sorted(int(line.split("\t")[2]) for line in log.splitlines())
    return Outcome(
        requests=counts["succeeded"],
        seconds=float(took[1]) / (1000 if took[2] == "ms" else 1),
        p50_us=times[len(times) // 2],
        p99_us=times[len(times) * 99 // 100],
        errors=counts["failed"] + counts["errored"] + counts["timeout"],
    )


def command(scenario: Scenario, port: int, seconds: float, folder: str = "") -> list[str]:
    """The generator's command line; `folder` has the body that h2load sends, and gets its log."""
    match scenario:
        case Http2Scenario():
            return [
                "h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}",
                f"-D{max(1, round(seconds))}", f"--log-file={folder}/log",
                "-H", f":method: {scenario.method}", "-H", f":authority: {HOSTS[0]}",
                *(["-d", f"{folder}/body"] if scenario.body else []),
                f"http://127.0.0.1:{port}{scenario.path}",
            ]  # fmt: skip
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
