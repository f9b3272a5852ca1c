"""What one active check costs the worker that makes it: CPU time, without and beside all else.

    python -m bench.questions.check_cost [--checks 2000] [--rounds 8]

A process answers on fifty ports. Ten checks at a time are sent, each as a worker sends it: on a
connection of its own, within its time. Told are the microseconds of CPU time for a check in each
round; the least of them is nearest to a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import suppress
from multiprocessing import Pipe, Process

import uvloop

from app.checks.fleet import client_of_checks
from app.checks.rounds import problem_of
from app.checks.verdicts import Target, parse_probe
from app.config.structs import Config, HealthCheck
from app.routing import parse_frontend
from bench.questions.checks import checked_backends

PORTS = 50
AT_ONCE = 10
TIMEOUT = 3.0


async def measure(ports: list[int], checks: int, rounds: int) -> None:
    """Print each round."""
    wanted = HealthCheck(path="/health")
    probe, _ = parse_probe({}, wanted)
    targets = []
    for port in ports:
        frontend = parse_frontend(f"{port}.example", ["site", f"http://127.0.0.1:{port}"])
        targets.append(Target(frontend, frontend.backends[0], probe, rise=2, fall=3))
    async with client_of_checks(Config(), wanted) as client:

        async def check(target: Target) -> None:
            async with asyncio.timeout(TIMEOUT):
                assert await problem_of(client, target) is None

        for _ in range(rounds):
            started = time.process_time()
            for first in range(0, checks, AT_ONCE):
                some = (targets[(first + n) % PORTS] for n in range(AT_ONCE))
                await asyncio.gather(*(asyncio.create_task(check(each)) for each in some))
            spent = time.process_time() - started
            print(f"{1e6 * spent / checks:.0f} µs of CPU time for a check", flush=True)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    ours, theirs = Pipe()
    process = Process(target=checked_backends, args=(PORTS, theirs), daemon=True)
    process.start()
    try:
        with suppress(KeyboardInterrupt):
            uvloop.run(measure(ours.recv(), arguments.checks, arguments.rounds))
    finally:
        process.kill()


if __name__ == "__main__":
    main()
