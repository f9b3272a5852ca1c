"""Latency of a small GET at a rate that does not wait: `python -m bench.questions.open_loop`.

wrk's clients wait for an answer before they ask again, so a pause of the proxy delays one
request of each. Here requests are due at a steady rate, whatever the answers do, and a request's
latency counts from when it was due (as wrk2 has it), even if its connection is still busy.

Each proxy runs alone at shares of its own capacity, which wrk finds out first. The rates are the
same for all with `--rate`. The load (steady_load.c, needs gcc) shares a core with the backend.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.compare import needs
from bench.compare.proxies import known
from bench.compare.report import table
from bench.compare.results import percentile
from bench.compare.rig import ANSWERS, Rig, Running, rig
from bench.compare.scenarios import BY_NAME
from bench.processes import pinned
from bench.questions.instructions import SMALL_GET

SOURCE = Path(__file__).with_name("steady_load.c")
END = ANSWERS[SMALL_GET.path]
CONNECTIONS = 64
WARM_UP = 1.0
PERCENTILES = (50, 99, 99.9, 100)
HEADINGS = (
    "proxy", "of capacity", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms",
    "load late ms", "errors",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run has seen."""

    times: list[float]
    """Of the answers, in ms, in ascending order."""
    errors: int
    late: float
    """By how many ms the load itself was late at most."""


@dataclass(frozen=True, slots=True)
class Load:
    """The compiled load."""

    program: Path

    @classmethod
    def compiled(cls, folder: Path) -> Load:
        """Build it there."""
        subprocess.run(["gcc", "-O2", SOURCE, "-o", folder / "steady_load"], check=True)
        return cls(folder / "steady_load")

    def run(
        self, port: int, rate: float, seconds: float, *, connections: int = CONNECTIONS,
        core: int | None = None,
    ) -> Seen:  # fmt: skip
        """Ask at `rate` a second, for `seconds`."""
        texts = [SMALL_GET.request().decode(), END.decode()]
        numbers = [str(number) for number in (port, rate, seconds, connections)]
        argv = [str(self.program), *numbers, *texts]
        output = subprocess.check_output(argv if core is None else pinned(core, argv), text=True)
        failed, late, *taken = map(int, output.split())
        return Seen(sorted(each / 1e6 for each in taken), failed, late / 1e6)


def shown(name: str, share: str, rate: float, seen: Sequence[Seen]) -> list[str]:
    """One line of the table: medians of the rounds, the worst of errors and lateness."""
    times = [
        f"{median(percentile(each.times, percent) for each in seen):.2f}" for percent in PERCENTILES
    ]
    late, errors = max(each.late for each in seen), sum(each.errors for each in seen)
    return [name, share, f"{rate:,.0f}", *times, f"{late:.1f}", str(errors)]


def rates(running: Rig, proxy: Running, options: argparse.Namespace) -> dict[str, float]:
    """The rates for one proxy, by what they are called in the table."""
    if options.rate:
        return {"": float(options.rate)}
    seen = running.measure(proxy, BY_NAME["small_get"], 0, 3)
    return {f"{share:.0%}": share * seen.requests / seen.seconds for share in options.shares}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if a request failed."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.open_loop")
    options.add_argument("--proxies", default="nginx,haproxy,hipache")
    options.add_argument("--seconds", type=float, default=5, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8])
    options.add_argument("--rate", type=float, default=0, help="requests/s, the same for all")
    given = options.parse_args(argv)
    chosen = [known()[name] for name in given.proxies.split(",")]
    programs = {"nginx", "wrk", "gcc"}.union(*(proxy.programs for proxy in chosen))
    needs.install(programs)
    if gone := needs.missing(programs):
        print(f"needs {', '.join(sorted(gone))} on PATH", file=sys.stderr)
        return 2
    seen: dict[tuple[str, str, float], list[Seen]] = {}
    with tempfile.TemporaryDirectory() as name, rig(chosen) as running:
        load = Load.compiled(Path(name))
        running.check(BY_NAME["small_get"])
        wanted = [
            (proxy, share, rate)
            for proxy in running.running
            for share, rate in rates(running, proxy, given).items()
        ]
        for _ in range(given.rounds):
            for proxy, share, rate in wanted:
                port, core = proxy.site.port, proxy.site.load_core
                load.run(port, rate, WARM_UP, core=core)
                run = load.run(port, rate, given.seconds, core=core)
                seen.setdefault((proxy.name, share, rate), []).append(run)
    print(table(HEADINGS, [shown(*what, runs) for what, runs in seen.items()]))
    return 1 if any(run.errors for runs in seen.values() for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
