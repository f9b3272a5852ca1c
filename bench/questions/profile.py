"""Where the proxy spends its time: `python -m bench.questions.profile [--scenario small_get]`.

Puts a scenario's load on Hipache, records the worker with py-spy and prints the
functions with the largest self time. With `--native` the C functions below Python
count for themselves, without it for the Python function that called them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import procfs
from bench.compare import load, needs
from bench.compare.proxies import Hipache
from bench.compare.report import table
from bench.compare.rig import Rig, rig
from bench.compare.scenarios import BY_NAME, Scenario
from bench.processes import BenchError

PY_SPY = Path(sys.executable).with_name("py-spy")
SAMPLES_PER_SECOND = 500
WAITING = (
    "Condition.wait (threading.py",
    "_worker (concurrent/futures/thread.py",
    "LineWriter._next_batch (app/logs/writer.py",
)
"""Where a thread waits for work: py-spy takes that for work."""
LEAD_SECONDS = 2
"""Load before and after the recording, so that the recording sees nothing else."""


def self_times(folded: str) -> Counter[str]:
    """Samples by innermost frame, of stacks in folded form (`outer;inner COUNT` a line).

    >>> self_times("run;read 3\\nrun;read;parse 4\\nrun;read 1").most_common()
    [('read', 4), ('parse', 4)]

    Threads that wait do not count.
    """
    found: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        innermost = stack.rpartition(";")[2]
        if not innermost.startswith(WAITING):
            found[innermost] += int(count)
    return found


def busiest(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """The process that used the most CPU between two `procfs.tree`: the worker, under load.

    >>> busiest({1: 86, 2: 12}, {1: 86, 2: 50, 3: 4})
    2
    """
    return max(after, key=lambda pid: after[pid] - before.get(pid, 0))


def record(running: Rig, scenario: Scenario, seconds: int, *, native: bool) -> str:
    """Folded stacks of the proxy's worker under `scenario`."""
    proxy = running.running[0]
    running.check(scenario)
    before = procfs.tree(proxy.processes)
    running.measure(proxy, scenario, 0, LEAD_SECONDS)
    worker = busiest(before, procfs.tree(proxy.processes))
    pressure = threading.Thread(
        target=load.run,
        args=(scenario, proxy.site.port),
        kwargs={"seconds": seconds + 2 * LEAD_SECONDS, "core": proxy.site.load_core},
    )
    pressure.start()
    output = proxy.site.folder / "stacks.txt"
    command = [
        str(PY_SPY), "record", "--pid", str(worker), "--duration", str(seconds),
        "--rate", str(SAMPLES_PER_SECOND), "--format", "raw", "--output", str(output),
        "--function", *(["--native"] if native else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    pressure.join()
    if done.returncode:
        raise BenchError(f"py-spy failed:\n{done.stderr[-2000:]}")
    return output.read_text()


def summary(folded: str, top: int) -> str:
    """The largest self times as a table of Markdown."""
    times = self_times(folded)
    total = max(1, times.total())
    rows = [[name, f"{count / total:.1%}"] for name, count in times.most_common(top)]
    return table(["function", "self time"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the stacks can be kept for a flame graph."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.profile", description=__doc__)
    options.add_argument("--scenario", default="small_get", choices=BY_NAME)
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--top", type=int, default=15)
    options.add_argument("--native", action="store_true")
    options.add_argument("--keep", type=Path, help="write the folded stacks here")
    chosen = options.parse_args(argv)
    needs.install({"nginx", "wrk", "redis-server"})
    if gone := needs.missing({"nginx", "wrk", "redis-server", str(PY_SPY)}):
        print(f"needs {', '.join(sorted(gone))}", file=sys.stderr)
        return 2
    with rig([Hipache()]) as running:
        scenario = BY_NAME[chosen.scenario]
        folded = record(running, scenario, chosen.seconds, native=chosen.native)
    if chosen.keep:
        chosen.keep.write_text(folded)
    print(summary(folded, chosen.top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
