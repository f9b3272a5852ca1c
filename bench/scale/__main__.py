"""How fast every worker of a fleet sees a change, and what that costs Redis.

    python -m bench.scale [--proxies 1,10,100] [--frontends 1000000] [--changes 200]
                          [--seconds 10] [--real 16] [--asked 8]
                          [--faults failover,outage,flushall]

Each proxy has eight workers. Some of them (--real) are our own store client with its cache, and
requests for routes; the others are simulated: to Redis they look the same, but they do not keep
what they are told. So 800 of them fit on one machine. For each size: how long it took from
sending a change until each worker was told, Redis' share of a core, its connections and memory,
and the real workers' requests, those that failed, and those that got a route that was stale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.processes import ending_in_order
from bench.scale.faults import FAULTS
from bench.scale.fleet import HEADINGS, Fleet, Measured
from bench.scale.server import Server
from bench.scale.shared_numbers import CHANGING, SharedNumbers


def measure(arguments: argparse.Namespace) -> list[Measured]:
    """Print each size, and each fault with the largest."""
    found = []
    with tempfile.TemporaryDirectory() as name, ending_in_order():
        numbers = SharedNumbers()
        server = Server(Path(name), numbers, replicated="failover" in arguments.faults)
        try:
            server.start()
            empty = server.figures()[1]
            took = server.fill(arguments.frontends)
            each = (server.figures()[1] - empty) / arguments.frontends
            print(f"{arguments.frontends} frontends in {took:.1f} s, {each:.0f} bytes each")
            print(HEADINGS, flush=True)
            for proxies in arguments.proxies:
                fleet = Fleet(server, numbers, proxies, arguments.real)
                with fleet.running(arguments.asked):
                    fleet.change(arguments.changes, min(1.0, arguments.seconds))  # to warm up
                    found.append(fleet.change(arguments.changes, arguments.seconds))
                    print(found[-1], flush=True)
                    if found[-1].lost:
                        print(f"{found[-1].lost} tracking connections were lost, and came back")
                    faults = [name for name in FAULTS if name in arguments.faults]
                    for fault in faults if proxies == arguments.proxies[-1] else ():
                        told = FAULTS[fault](fleet, arguments.changes, arguments.seconds)
                        print(f"{fault}: {told}", flush=True)
        finally:
            server.end()
    return found


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _faults(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - set(FAULTS):
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(sorted(unknown))}")
    return names


def main() -> int:
    """Read the arguments and measure; 1 where a worker was not told of a change, or was stale."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--proxies", type=_sizes, default=[1, 10, 100], help="sizes, one after the other")
    add("--frontends", type=int, default=1_000_000, help=f"at least {CHANGING}")
    add("--changes", type=float, default=200.0, help="a second")
    add("--seconds", type=float, default=10.0, help="for each size")
    add("--real", type=int, default=16, help="workers that are our own code; the rest: simulated")
    add("--asked", type=int, default=8, help="workers that read a host again when it changes")
    add("--faults", type=_faults, default=["outage", "flushall"], help="; ".join(FAULTS))
    arguments = parser.parse_args()
    if arguments.frontends < CHANGING:
        parser.error(f"--frontends must be {CHANGING} or more")
    found = measure(arguments)
    return int(any((each.missing and not each.lost) or each.real.stale for each in found))


if __name__ == "__main__":
    sys.exit(main())
