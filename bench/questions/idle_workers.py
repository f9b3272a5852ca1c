"""What idle workers take of memory: `python -m bench.questions.idle_workers [--workers 1 4 10]`.

Starts `hipache serve` on a Redis and prints the mean of its workers: PSS, where a page that so many
processes share counts as that part of one; USS, which is what one more worker takes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from statistics import mean

from bench.processes import serving as program
from bench.procfs import cores
from bench.questions.workers import MIB, serving
from tests.ports import free_port

SETTLED = 3.0
"""Seconds after the start."""


async def measure(workers: int) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        argv = ["redis-server", "--port", str(port), "--save", "", "--dir", name]
        with program(argv, port, core=cores()[1], log=Path(name) / "redis.log"):
            async with serving(workers, driver=[f"redis://127.0.0.1:{port}"]) as service:
                await asyncio.sleep(SETTLED)
                found = [each.memory_full_info() for each in service.workers()]
    pss, uss = (mean(getattr(each, kind) for each in found) / MIB for kind in ("pss", "uss"))
    print(f"{workers} workers: {pss:.1f} MB of PSS each, {uss:.1f} MB of USS")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 10])
    for workers in parser.parse_args().workers:
        asyncio.run(measure(workers))


if __name__ == "__main__":
    main()
