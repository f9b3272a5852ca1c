"""What the kernel says about processes and cores. Linux only, as `taskset` and wrk are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """(core of the proxy, core of the load and the backend), of those this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


def parse_stat(text: str) -> tuple[int, int]:
    """(parent's id, CPU ticks) from one `/proc/PID/stat`, proc(5).

    The ticks are user and system time of the process and of the children it has waited for.

    >>> parse_stat("7 (a b) c) S 3 7 7 0 -1 0 0 0 0 0 100 20 3 4 20 0 1 0 99")
    (3, 127)
    """
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold spaces and brackets
    return int(fields[1]), sum(map(int, fields[11:15]))


def tree(roots: Iterable[int]) -> dict[int, int]:
    """CPU ticks of the processes `roots` and of all that live below them, by process id."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent, spent = parse_stat((entry / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        parents[int(entry.name)], ticks[int(entry.name)] = parent, spent
    members = set(roots)
    grown = True
    while grown:
        below = {child for child, parent in parents.items() if parent in members} - members
        members |= below
        grown = bool(below)
    return {pid: ticks[pid] for pid in members if pid in ticks}


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU seconds that `roots` and everything below them have used so far."""
    return sum(tree(roots).values()) / TICKS_PER_SECOND


def machine_cpu_seconds() -> float:
    """CPU seconds that all cores together were not idle since boot, stolen time included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def cpu_model() -> str:
    """The processor's name, or the machine's type where the kernel does not tell."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
